//! What the kernel side counts.

use std::collections::BTreeMap;

use tlsclose_common::{
    facts::Durations,
    limits::{HALF_CLOSED_BUCKETS_MS, STATES},
};

use tlsclose_core::model::{Loss, State};

use crate::{
    api::{Histogram, ProgramRuns},
    kernel::counters::Counters,
    watch::View,
};

pub(super) fn sockets(view: &View) -> BTreeMap<State, u64> {
    let mut sockets: BTreeMap<State, u64> = BTreeMap::new();
    for (number, count) in view.log.last.sockets.iter().enumerate() {
        if let Some(state) = State::numbered(number as u8) {
            sockets.insert(state, *count);
        }
    }
    sockets.insert(State::TimeWait, view.host.sockstat.time_wait);
    // Only a socket of Fast Open can have a file in SYN_RECV; the others are requests at their listener.
    *sockets.entry(State::SynRecv).or_default() += view.queues.requests();
    sockets
}

pub(super) fn transitions(counters: &Counters) -> BTreeMap<(State, State), u64> {
    let named = |slot: usize| Some((State::numbered((slot / STATES) as u8)?, State::numbered((slot % STATES) as u8)?));
    let counted = counters.transitions.iter().enumerate().filter(|(_, count)| **count > 0);
    counted.filter_map(|(slot, count)| Some((named(slot)?, *count))).collect()
}

pub(super) fn histogram(durations: &Durations) -> Histogram {
    let bounds = HALF_CLOSED_BUCKETS_MS.iter().map(|bound| *bound as f64 / 1000.0).chain([f64::INFINITY]);
    let mut total = 0;
    let buckets = bounds
        .zip(durations.buckets)
        .map(|(bound, count)| {
            total += count;
            (bound, total)
        })
        .collect();
    Histogram { buckets, sum: durations.sum as f64 / 1e9 }
}

pub(super) fn losses(view: &View) -> BTreeMap<Loss, u64> {
    let mut lost = view.kernel.counters.lost.clone();
    for (loss, count) in &view.kernel.lost {
        *lost.entry(*loss).or_default() += count;
    }
    lost
}

pub(super) fn programs(view: &View) -> Vec<ProgramRuns> {
    let runs = view.kernel.runs.iter();
    runs.map(|run| ProgramRuns { program: run.program.clone(), seconds: run.nanoseconds as f64 / 1e9, runs: run.runs })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_histograms_become_cumulative() {
        let mut durations = Durations { sum: 2_500_000_000, ..Durations::default() };
        durations.buckets[0] = 3;
        durations.buckets[10] = 2;
        let histogram = histogram(&durations);
        assert_eq!(histogram.buckets[0], (0.001, 3));
        assert_eq!(histogram.buckets[10], (f64::INFINITY, 5));
        assert_eq!(histogram.sum, 2.5);
    }
}
