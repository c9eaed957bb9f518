//! How fast processes use up their descriptors, and how often none was left. Pure.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use crate::model::{Moment, ProcessId, Workload};

/// Over which time growth is taken.
const SPAN: Duration = Duration::from_secs(300);
/// Looks closer together than this are kept as one.
const SAMPLE_SPAN: Duration = Duration::from_millis(900);

/// How the number of open descriptors went, of each process looked at: whatever they are of, for all that is opened
/// counts for the limit.
#[derive(Default)]
pub struct DescriptorGrowth {
    seen: HashMap<ProcessId, VecDeque<(Moment, u64)>>,
}

impl DescriptorGrowth {
    /// The process has so many open now.
    pub fn observe(&mut self, process: ProcessId, now: Moment, open: u64) {
        let counts = self.seen.entry(process).or_default();
        if counts.len() > 1 && counts.back().is_some_and(|(at, _)| now.since(*at) < SAMPLE_SPAN) {
            counts.pop_back();
        }
        counts.push_back((now, open));
        while counts.len() > 2 && now.since(counts[1].0) >= SPAN {
            counts.pop_front();
        }
    }

    /// Net growth over the last five minutes, or over what there is of them; None until it was looked at twice.
    pub fn per_minute(&self, process: ProcessId) -> Option<f64> {
        let counts = self.seen.get(&process)?;
        let (&(from, first), &(to, last)) = (counts.front()?, counts.back()?);
        let span = to.since(from).as_secs_f64();
        (span >= SAMPLE_SPAN.as_secs_f64()).then(|| (last as f64 - first as f64) * 60.0 / span)
    }

    /// Seconds until the process has as many open as it may, at the present growth; 0 when it has. None while it does
    /// not grow, or nobody knows.
    pub fn exhausted_in(&self, process: ProcessId, open: Option<u64>, limit: Option<u64>) -> Option<f64> {
        let left = limit?.saturating_sub(open?);
        if left == 0 {
            return Some(0.0);
        }
        let per_minute = self.per_minute(process).filter(|growth| *growth > 0.0)?;
        Some((left as f64 / per_minute * 60.0).round())
    }

    /// Forgets who has not been looked at for a while.
    pub fn forget(&mut self, now: Moment) {
        self.seen.retain(|_, counts| counts.back().is_some_and(|(at, _)| now.since(*at) < SPAN));
    }
}

/// Calls that failed because no descriptor was left, by workload: a counter that only grows, whichever of its processes
/// have lingering sockets at the moment.

#[derive(Default)]
pub struct EmfileAccounts {
    /// Errors of each process that have been added to its workload's.
    seen: HashMap<ProcessId, u64>,
    totals: BTreeMap<Workload, u64>,
}

impl EmfileAccounts {
    /// The process has met `errors` so far.
    pub fn add(&mut self, workload: &Workload, process: ProcessId, errors: u64) {
        let total = self.totals.entry(workload.clone()).or_default();
        let seen = self.seen.entry(process).or_default();
        *total += errors.saturating_sub(*seen);
        *seen = errors.max(*seen);
    }

    /// What all processes of the workload have met.
    pub fn total(&self, workload: &Workload) -> u64 {
        self.totals.get(workload).copied().unwrap_or(0)
    }

    /// Forgets processes that ended, and workloads whose series have.
    pub fn forget(&mut self, is_alive: impl Fn(ProcessId) -> bool, has_series: impl Fn(&Workload) -> bool) {
        self.seen.retain(|process, _| is_alive(*process));
        self.totals.retain(|workload, _| has_series(workload));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(tgid: u32) -> ProcessId {
        ProcessId { tgid, started_at: 1 }
    }

    fn at(seconds: u64) -> Moment {
        Moment((1000 + seconds) * 1_000_000_000)
    }

    #[test]
    fn the_time_that_is_left_is_that_of_the_process_and_of_all_it_opens() {
        let mut growth = DescriptorGrowth::default();
        let left = |growth: &DescriptorGrowth, open| growth.exhausted_in(process(7), Some(open), Some(1024));
        growth.observe(process(7), at(0), 100);
        assert_eq!(left(&growth, 100), None, "one look tells nothing");
        growth.observe(process(7), at(60), 130);
        assert_eq!(growth.per_minute(process(7)), Some(30.0));
        assert_eq!(left(&growth, 130), Some(1788.0));
        growth.observe(process(7), at(61), 1024);
        assert_eq!(left(&growth, 1024), Some(0.0));
        growth.observe(process(7), at(400), 100);
        assert_eq!(left(&growth, 100), None, "it has closed some");
        assert_eq!(growth.exhausted_in(process(8), Some(9), Some(9)), Some(0.0), "full is full");
        assert_eq!(growth.exhausted_in(process(7), None, Some(9)), None);
        growth.forget(at(701));
        assert_eq!(growth.per_minute(process(7)), None);
    }

    #[test]
    fn errors_count_once_whichever_process_has_lingering_sockets() {
        let mut accounts = EmfileAccounts::default();
        let [payments, orders] = ["payments", "orders"].map(|comm| Workload::new(comm.into(), None));
        let steps = [
            (&payments, 7, 5, 5),
            (&payments, 8, 0, 5),
            (&payments, 7, 5, 5),
            (&payments, 8, 2, 7),
            (&orders, 9, 1, 1),
            (&payments, 7, 6, 8),
        ];
        for (workload, tgid, errors, total) in steps {
            accounts.add(workload, process(tgid), errors);
            assert_eq!(accounts.total(workload), total, "{tgid}");
        }
        accounts.forget(|process| process.tgid != 7, |workload| workload != &orders);
        accounts.add(&payments, process(8), 2);
        accounts.add(&orders, process(9), 1);
        assert_eq!(accounts.total(&payments), 8, "what a process has met stays its workload's");
        assert_eq!(accounts.total(&orders), 0, "its series began anew");
    }
}
