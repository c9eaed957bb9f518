//! Calls that failed because no descriptor was left, by workload: a counter that only grows, whichever of its processes
//! have lingering sockets at the moment. Pure.

use std::collections::{BTreeMap, HashMap};

use crate::model::{ProcessId, Workload};

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
