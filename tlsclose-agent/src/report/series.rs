//! The same sites as metric series, which never move.

use std::collections::BTreeMap;

use super::{seconds, sites::describe_process};
use crate::{api::*, watch::Watch};
use tlsclose_core::model::series_limit::{OTHER, UNSAMPLED};
use tlsclose_core::model::*;
use tlsclose_core::model::{Moment, ProcessId, principal_frame};

pub(super) fn series(watch: &Watch, now: Moment) -> Vec<SiteSeries> {
    let series = watch.sites.series.iter();
    series
        .map(|((identity, kind, site), record)| SiteSeries {
            identity: identity.clone(),
            kind: *kind,
            site: site.clone(),
            lingering: record.now.lingering,
            leaking: record.leaking,
            lingered_total: record.account.lingered,
            ended_total: record.account.ended,
            oldest_seconds: record.now.oldest.map_or(0.0, |oldest| seconds(now.since(oldest))),
        })
        .collect()
}

pub(super) fn site_infos(watch: &Watch) -> Vec<SiteInfo> {
    let place = |touch: &Option<Touch>| {
        let frame = touch.as_ref().and_then(|touch| principal_frame::principal(&touch.stack));
        frame.map(principal_frame::describe).unwrap_or_default()
    };
    let sites = watch.sites.sites.iter();
    sites
        .filter(|(key, _)| key.site != OTHER && key.site != UNSAMPLED)
        .map(|(key, record)| SiteInfo {
            site: key.site.clone(),
            kind: key.kind,
            exe: key.exe.clone(),
            opened: place(&record.opened),
            touched: place(&record.touched),
        })
        .collect()
}

/// The worst process of each workload with a lingering socket.
pub(super) fn processes(watch: &mut Watch, now: Moment) -> Vec<ProcessSeries> {
    let mut holders: BTreeMap<ProcessId, f64> = BTreeMap::new();
    for record in watch.sites.sites.values() {
        for (process, tally) in &record.processes {
            let share = tally.lingering as f64 / record.now.lingering.max(1) as f64;
            *holders.entry(*process).or_default() += record.history.per_minute() * share;
        }
    }
    let mut worst: BTreeMap<Workload, ProcessSeries> = BTreeMap::new();
    for (process, per_minute) in holders {
        let Some(one) = describe_process(watch, process, 0, per_minute) else { continue };
        let identity = watch.gauged.label(&Workload::new(one.comm, one.container.as_ref()), now);
        let emfile_errors_total = watch.emfile.add(&identity, process, one.emfile_errors);
        let candidate = ProcessSeries {
            identity: identity.clone(),
            open_fds: one.open_fds,
            max_fds: one.max_fds,
            fds_exhausted_seconds: one.fds_exhausted_in_seconds,
            emfile_errors_total,
        };
        let fullness = |series: &ProcessSeries| {
            series.open_fds.unwrap_or(0) as f64 / series.max_fds.unwrap_or(u64::MAX).max(1) as f64
        };
        let known = worst.entry(identity).or_insert_with(|| candidate.clone());
        if fullness(&candidate) > fullness(known) {
            *known = candidate;
        }
        known.emfile_errors_total = emfile_errors_total;
    }
    worst.into_values().collect()
}

/// The fullest accept queue of each workload that has one with connections in it, or on their way there.
pub(super) fn accept_queues(watch: &mut Watch, now: Moment) -> Vec<QueueSeries> {
    let mut fullest: BTreeMap<Workload, QueueSeries> = BTreeMap::new();
    for listener in watch.queues.iter() {
        let Some(holder) = listener.holders.first().map(|held| held.process) else { continue };
        let Some(comm) = watch.attribution.identity(holder).map(|who| who.comm.clone()) else { continue };
        let identity = Workload::new(comm, watch.attribution.container(holder).as_ref());
        let identity = watch.gauged.label(&identity, now);
        let queue = listener.queue;
        let (length, limit) = (u64::from(queue.length), u64::from(queue.limit));
        let syn_recv = u64::from(queue.requests);
        let fullness = |length: u64, limit: u64| length as f64 / (limit + 1) as f64;
        let known = fullest.entry(identity.clone()).or_insert(QueueSeries { identity, length, limit, syn_recv: 0 });
        known.syn_recv += syn_recv;
        if fullness(length, limit) > fullness(known.length, known.limit) {
            (known.length, known.limit) = (length, limit);
        }
    }
    fullest.into_values().collect()
}

pub(super) fn adopted(watch: &Watch) -> BTreeMap<(Workload, Kind), u64> {
    let mut adopted = BTreeMap::new();
    for ((identity, kind, _), record) in &watch.sites.series {
        *adopted.entry((identity.clone(), *kind)).or_default() += record.account.adopted;
    }
    adopted
}
