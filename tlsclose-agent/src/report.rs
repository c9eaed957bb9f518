//! Turns what the watch knows into what the outputs show. Reads only: the same view gives the same snapshot.

mod aborts;
mod counts;
mod half_open;
mod rounding;
mod series;
mod sites;
mod tls;

use std::collections::BTreeMap;

use tlsclose_core::model::{Loss, Lossy, State};

use self::{
    aborts::aborted_sites,
    counts::{histogram, losses, programs, sockets, transitions},
    half_open::{half_open_series, half_open_sites},
    series::{accept_queues, adopted, processes, series, site_infos},
    sites::sites,
    tls::tls_sites,
};
use crate::{
    api::{CensusInfo, Incomplete, LostTotals, Report, SCHEMA, Snapshot},
    watch::View,
};

/// Everything the outputs are made from, as of the census just done.
pub fn snapshot(view: &View) -> Snapshot {
    let counters = &view.kernel.counters;
    let lost = losses(view);
    Snapshot {
        report: report(view, &lost),
        series: series(view),
        site_infos: site_infos(view),
        tls_closes: view.tls.exported(),
        processes: processes(view),
        accept_queues: accept_queues(view),
        close_calls: view.kernel.close_calls.clone(),
        aborts: view.aborts.exported(),
        half_open: half_open_series(view),
        spinning: view.spinning.sockets.clone(),
        unheld: view.log.last.unheld,
        adopted: adopted(view),
        sockets: sockets(view),
        orphans: view.host.sockstat.orphans,
        syncookies: view.host.syncookies,
        conntrack: view.host.conntrack,
        ignored: view.ignored,
        transitions: transitions(counters),
        half_closed_seconds: BTreeMap::from([
            (State::CloseWait, histogram(&counters.close_wait)),
            (State::FinWait2, histogram(&counters.fin_wait2)),
        ]),
        lost,
        census_duration: view.log.durations.clone(),
        programs: programs(view),
        maps: view.kernel.maps.clone(),
        features: view.kernel.features.clone(),
        host: view.host.facts.to_vec(),
        ready: true,
    }
}

fn report(view: &View, lost: &BTreeMap<Loss, u64>) -> Report {
    let total = |what: Lossy| lost.iter().filter(|(loss, _)| loss.what() == what).map(|(_, count)| count).sum();
    let census = &view.log.last;
    let incomplete = incomplete(view, total(Lossy::Sockets));
    Report {
        schema: SCHEMA,
        host: view.host.name.clone(),
        kernel: view.host.kernel.clone(),
        watching_since: rfc3339(view.log.since),
        generated_at: rfc3339(view.generated_at),
        complete: incomplete.is_empty(),
        incomplete,
        lost: LostTotals { sockets: total(Lossy::Sockets), stacks: total(Lossy::Stacks), events: total(Lossy::Events) },
        census: CensusInfo {
            interval_seconds: view.log.interval.as_secs_f64(),
            seconds: census.took.as_secs_f64(),
            tasks: census.tasks,
            fds: census.fds,
        },
        sites: sites(view),
        tls_sites: tls_sites(view),
        aborted_sites: aborted_sites(view),
        half_open_sites: half_open_sites(view),
    }
}

/// Every reason for which counts may be off.
fn incomplete(view: &View, lost_sockets: u64) -> Vec<Incomplete> {
    let reasons = [
        (lost_sockets > 0, Incomplete::SocketsLost),
        (!view.kernel.sees_all, Incomplete::PidNamespace),
        (!view.queues.are_walked(view.kernel.walks_queues), Incomplete::AcceptQueueNotWalked),
        (!view.queues.fit(), Incomplete::AcceptQueueCut),
        (view.log.last.untold > 0, Incomplete::SharedNotToldApart),
        (view.log.last.unheld > tlsclose_common::limits::UNHELD_RECORDS, Incomplete::UnheldCut),
    ];
    reasons.into_iter().filter(|(holds, _)| *holds).map(|(_, reason)| reason).collect()
}

/// Whole seconds are enough for people, and sort.
fn rfc3339(at: jiff::Timestamp) -> String {
    at.round(jiff::Unit::Second).unwrap_or(at).to_string()
}

#[cfg(test)]
mod tests;
