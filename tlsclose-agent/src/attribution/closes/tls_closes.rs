//! Closes of TLS connections on their way from the kernel's counters into the accounts.

use std::collections::HashMap;

use tlsclose_common::facts::{TlsCloseKey, TlsStackKey};

use crate::attribution::{
    Attribution, KernelCommand, containers::Whereabouts, naming::closing_sites::ClosingSites, process::comm_text,
};
use tlsclose_core::closes::sampled_counters::{Counted, CountedCloses, Growing, Waiting};
use tlsclose_core::closes::tls::{Close, Sampled};
use tlsclose_core::{
    closes::tls::TlsAccounts,
    model::{Kind, Moment, ProcessId, Workload},
};

pub struct TlsCloseIntake {
    seen: Growing<TlsCloseKey>,
    waiting: Waiting<TlsStackKey>,
    sites: ClosingSites,
}

impl Default for TlsCloseIntake {
    fn default() -> Self {
        Self { seen: Growing::default(), waiting: Waiting::default(), sites: ClosingSites::of(Kind::TlsTruncated) }
    }
}

impl TlsCloseIntake {
    /// Takes in what was counted and sampled since this was called last; returns which counters are over.
    pub fn take_in(
        &mut self,
        closes: CountedCloses<TlsCloseKey, TlsStackKey>,
        attribution: &mut Attribution,
        accounts: &mut TlsAccounts,
        now: Moment,
    ) -> Vec<KernelCommand> {
        accounts.begin(now);
        let mut commands = Vec::new();
        let mut labels: HashMap<ProcessId, Workload> = HashMap::new();
        for counted in closes.counted {
            let process = process_of(&counted.key);
            let whereabouts = attribution.whereabouts(process);
            if matches!(whereabouts, Some(Whereabouts::Pending(_))) {
                // The counts stay where they are until the runtime has answered: a series never moves.
                continue;
            }
            let container = whereabouts.and_then(Whereabouts::container);
            let identity = Workload::new(name(&counted, attribution), container.as_ref());
            labels.insert(process, identity.clone());
            let fresh = self.seen.fresh(counted.key, counted.count);
            if fresh > 0 {
                accounts.book(&close(counted.key, fresh, identity.clone(), attribution), now);
            }
            let is_alive = || {
                let is_alive = attribution.procfs.is_alive(process);
                if is_alive {
                    accounts.mark_alive(&identity, now);
                }
                is_alive
            };
            if self.seen.retire_if_dead(&counted.key, fresh > 0, is_alive) {
                commands.push(KernelCommand::ForgetTlsCloses(counted.key));
            }
        }
        let Self { waiting, sites, .. } = self;
        waiting.place(closes.samples, |key, count| {
            let known = labels.get(&process_of(&key.close)).zip(attribution.paths.by_key(key.stack));
            let Some((identity, path)) = known else { return count };
            let close = close(key.close, count, identity.clone(), attribution);
            let site = sites.site(path, &close.exe, "close", |path| attribution.path(path));
            site.map_or(0, |(site, closed)| accounts.sampled(&Sampled { close, site, closed }, now))
        });
        commands
    }
}

fn process_of(key: &TlsCloseKey) -> ProcessId {
    ProcessId { tgid: key.tgid, started_at: key.started_at }
}

/// The name that the process had when it closed, else what it is called now.
fn name(counted: &Counted<TlsCloseKey>, attribution: &mut Attribution) -> String {
    if !counted.comm.is_empty() {
        return comm_text(counted.comm);
    }
    attribution.identity(process_of(&counted.key)).map(|who| who.comm.clone()).unwrap_or_default()
}

fn close(key: TlsCloseKey, count: u64, identity: Workload, attribution: &mut Attribution) -> Close {
    let process = process_of(&key);
    let exe = attribution.identity(process).map(|who| who.exe.clone()).unwrap_or_default();
    Close { process, identity, exe, facts: key.facts, count }
}
