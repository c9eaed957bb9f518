//! The same sites as metric series, which never move.

use std::collections::BTreeMap;

use tlsclose_core::model::{
    Kind, Touch, Workload, principal_frame,
    series_limit::{OTHER, UNSAMPLED},
};

use super::rounding::seconds;
use crate::{
    api::{ProcessSeries, QueueSeries, SiteInfo, SiteSeries},
    watch::View,
};

pub(super) fn series(view: &View) -> Vec<SiteSeries> {
    let series = view.sites.series.iter();
    series
        .map(|((identity, kind, site), record)| SiteSeries {
            identity: identity.clone(),
            kind: *kind,
            site: site.clone(),
            lingering: record.now.lingering,
            leaking: record.leaking,
            lingered_total: record.account.lingered,
            ended_total: record.account.ended,
            oldest_seconds: record.now.oldest.map_or(0.0, |oldest| seconds(view.now.since(oldest))),
        })
        .collect()
}

pub(super) fn site_infos(view: &View) -> Vec<SiteInfo> {
    let place = |touch: &Option<Touch>| {
        let frame = touch.as_ref().and_then(|touch| principal_frame::principal(&touch.stack));
        frame.map(principal_frame::describe).unwrap_or_default()
    };
    let sites = view.sites.sites.iter();
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
pub(super) fn processes(view: &View) -> Vec<ProcessSeries> {
    let mut worst: BTreeMap<Workload, ProcessSeries> = BTreeMap::new();
    for (id, state) in &view.holders {
        let Some(identity) = view.labels.get(id).cloned() else { continue };
        let candidate = ProcessSeries {
            identity: identity.clone(),
            open_fds: state.vitals.open_fds,
            max_fds: state.vitals.max_fds,
            fds_exhausted_seconds: state.exhausted_in,
            emfile_errors_total: view.emfile.total(&identity),
        };
        let fullness = |series: &ProcessSeries| {
            series.open_fds.unwrap_or(0) as f64 / series.max_fds.unwrap_or(u64::MAX).max(1) as f64
        };
        let known = worst.entry(identity).or_insert_with(|| candidate.clone());
        if fullness(&candidate) > fullness(known) {
            *known = candidate;
        }
    }
    worst.into_values().collect()
}

/// The fullest accept queue of each workload that has one with connections in it, or on their way there.
pub(super) fn accept_queues(view: &View) -> Vec<QueueSeries> {
    let mut fullest: BTreeMap<Workload, QueueSeries> = BTreeMap::new();
    for listener in view.queues.iter() {
        let Some(holder) = listener.holders.first().map(|held| held.process) else { continue };
        let Some(identity) = view.labels.get(&holder).cloned() else { continue };
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

pub(super) fn adopted(view: &View) -> BTreeMap<(Workload, Kind), u64> {
    let mut adopted = BTreeMap::new();
    for ((identity, kind, _), record) in &view.sites.series {
        *adopted.entry((identity.clone(), *kind)).or_default() += record.account.adopted;
    }
    adopted
}
