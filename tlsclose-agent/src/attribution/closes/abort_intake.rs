//! Aborted connections on their way from the kernel's counters into the accounts.

use std::collections::HashMap;

use tlsclose_common::facts::{AbortKey, AbortStackKey, abort};

use crate::attribution::{
    Attribution, KernelCommand, containers::Whereabouts, naming::closing_sites::ClosingSites, process::comm_text,
};
use tlsclose_core::closes::sampled_counters::{CountedCloses, Growing, Waiting};
use tlsclose_core::{
    closes::aborts::{AbortAccounts, Aborted},
    model::{AbortCause, Kind, Moment, ProcessId, Workload},
};

pub struct AbortIntake {
    seen: Growing<AbortKey>,
    waiting: Waiting<AbortStackKey>,
    sites: ClosingSites,
}

impl Default for AbortIntake {
    fn default() -> Self {
        Self { seen: Growing::default(), waiting: Waiting::default(), sites: ClosingSites::of(Kind::AbortedClose) }
    }
}

impl AbortIntake {
    /// Takes in what was counted and sampled since this was called last; returns which counters are over.
    pub fn take_in(
        &mut self,
        closes: CountedCloses<AbortKey, AbortStackKey>,
        attribution: &mut Attribution,
        accounts: &mut AbortAccounts,
        now: Moment,
    ) -> Vec<KernelCommand> {
        accounts.begin(now);
        let mut commands = Vec::new();
        let mut labels: HashMap<ProcessId, Workload> = HashMap::new();
        for counted in closes.counted {
            let process = process_of(&counted.key);
            let Some(cause) = cause(counted.key.cause) else { continue };
            let whereabouts = attribution.whereabouts(process);
            if matches!(whereabouts, Some(Whereabouts::Pending(_))) {
                // The counts stay where they are until the runtime has answered: a series never moves.
                continue;
            }
            let container = whereabouts.and_then(Whereabouts::container);
            let identity = Workload::new(comm_text(counted.comm), container.as_ref());
            labels.insert(process, identity.clone());
            let fresh = self.seen.fresh(counted.key, counted.count);
            if fresh > 0 {
                accounts.book(&aborted(process, identity.clone(), cause, fresh, attribution), now);
            }
            let is_alive = || {
                let is_alive = !process.is_known() || attribution.procfs.is_alive(process);
                if is_alive {
                    accounts.mark_alive(&identity, now);
                }
                is_alive
            };
            if self.seen.retire_if_dead(&counted.key, fresh > 0, is_alive) {
                commands.push(KernelCommand::ForgetAborts(counted.key));
            }
        }
        let Self { waiting, sites, .. } = self;
        waiting.place(closes.samples, |key, count| {
            let Some(cause) = cause(key.aborted.cause) else { return 0 };
            let process = process_of(&key.aborted);
            let known = labels.get(&process).zip(attribution.paths.by_key(key.stack));
            let Some((identity, path)) = known else { return count };
            let aborted = aborted(process, identity.clone(), cause, count, attribution);
            let call = if cause == AbortCause::Disconnect { "connect" } else { "close" };
            let site = sites.site(path, &aborted.exe, call, |path| attribution.path(path));
            site.map_or(0, |(site, closed)| accounts.sampled(&aborted, &site, &closed, now))
        });
        commands
    }
}

fn process_of(key: &AbortKey) -> ProcessId {
    ProcessId { tgid: key.tgid, started_at: key.started_at }
}

fn aborted(
    process: ProcessId,
    identity: Workload,
    cause: AbortCause,
    count: u64,
    attribution: &mut Attribution,
) -> Aborted {
    let exe = attribution.identity(process).map(|who| who.exe.clone()).unwrap_or_default();
    Aborted { process, identity, exe, cause, count }
}

fn cause(number: u32) -> Option<AbortCause> {
    Some(match u8::try_from(number).ok()? {
        abort::UNREAD_DATA => AbortCause::UnreadData,
        abort::LINGER_ZERO => AbortCause::LingerZero,
        abort::DISCONNECT => AbortCause::Disconnect,
        abort::LISTENER_CLOSED => AbortCause::ListenerClosed,
        abort::LINGER2 => AbortCause::Linger2,
        abort::TOO_MANY_ORPHANS => AbortCause::TooManyOrphans,
        abort::PEER_RESET => AbortCause::PeerReset,
        abort::KEEPALIVE_TIMEOUT => AbortCause::KeepaliveTimeout,
        abort::RETRANSMISSION_TIMEOUT => AbortCause::RetransmissionTimeout,
        abort::DESTROYED => AbortCause::Destroyed,
        abort::DATA_AFTER_CLOSE => AbortCause::DataAfterClose,
        _ => return None,
    })
}
