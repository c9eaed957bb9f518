//! Aborted connections on their way from the kernel's counters into the accounts.

use std::collections::HashMap;

use tlsclose_common::facts::{AbortKey, AbortStackKey, abort};

use super::{Attribution, containers::Whereabouts, process::printable, site::site_id};
use crate::{
    aborts::{AbortAccounts, Aborted},
    clock::Moment,
    finding::{AbortCause, Kind, Touch},
    kernel::load::Kernel,
    snapshot::Identity,
    tracker::{PathId, ProcessKey},
};

/// Samples that wait for their stacks.
const MAX_WAITING: usize = 4096;
/// Times that a sample is looked up in vain: its stack was lost, or is on its way.
const PATIENCE: u8 = 3;
/// Entries of dead processes are kept for so many censuses: their last close may still run.
const LINGER: u8 = 2;

#[derive(Default)]
pub struct Endings {
    seen: HashMap<AbortKey, Seen>,
    waiting: Vec<(AbortStackKey, u64, u8)>,
    /// Site labels and stacks of paths, by program.
    sites: HashMap<(PathId, String), (String, Touch)>,
}

/// The count as last seen, and for how many censuses the process has been dead.
#[derive(Clone, Debug, Default)]
struct Seen {
    count: u64,
    dead_for: u8,
}

impl Endings {
    /// Takes in what was counted and sampled since this was called last.
    pub fn learn(
        &mut self,
        kernel: &mut Kernel,
        attribution: &mut Attribution,
        accounts: &mut AbortAccounts,
        now: Moment,
    ) {
        accounts.begin(now);
        let samples = kernel.take_abort_stacks().into_iter().map(|(key, count)| (key, count, 0));
        let mut labels: HashMap<ProcessKey, Identity> = HashMap::new();
        for counted in kernel.aborts() {
            let process = process_of(&counted.key);
            let Some(cause) = cause(counted.key.cause) else { continue };
            let whereabouts = attribution.whereabouts(process);
            if matches!(whereabouts, Some(Whereabouts::Pending(_))) {
                // The counts stay where they are until the runtime has answered: a series never moves.
                continue;
            }
            let container = whereabouts.and_then(Whereabouts::container);
            let identity = Identity::new(name(&counted.comm), container.as_ref());
            labels.insert(process, identity.clone());
            let seen = self.seen.entry(counted.key).or_default();
            let fresh = counted.count.saturating_sub(seen.count);
            seen.count = counted.count;
            if fresh > 0 {
                seen.dead_for = 0;
                accounts.book(&aborted(process, identity, cause, fresh, attribution), now);
            } else if !process.is_known() || attribution.procfs.is_alive(process.into()) {
                seen.dead_for = 0;
            } else {
                seen.dead_for += 1;
                if seen.dead_for > LINGER {
                    self.seen.remove(&counted.key);
                    kernel.forget_aborts(counted.key);
                }
            }
        }
        let waiting = std::mem::take(&mut self.waiting);
        for (key, count, tries) in waiting.into_iter().chain(samples) {
            let Some(cause) = cause(key.aborted.cause) else { continue };
            let process = process_of(&key.aborted);
            let left = match labels.get(&process).zip(attribution.paths.by_key(key.stack)) {
                Some((identity, path)) => {
                    let aborted = aborted(process, identity.clone(), cause, count, attribution);
                    match self.site(path, &aborted, attribution) {
                        Some((site, closed)) => accounts.sampled(&aborted, &site, &closed, now),
                        None => 0,
                    }
                }
                None => count,
            };
            if left > 0 && tries < PATIENCE && self.waiting.len() < MAX_WAITING {
                self.waiting.push((key, left, tries + 1));
            }
        }
    }

    /// The site of a path, and its stack; None when nothing of it can be named.
    fn site(&mut self, path: PathId, aborted: &Aborted, attribution: &mut Attribution) -> Option<(String, Touch)> {
        let exe = &aborted.exe;
        let key = (path, exe.clone());
        if let Some(known) = self.sites.get(&key) {
            return Some(known.clone());
        }
        let (stack, whole) = attribution.frames(path);
        if stack.is_empty() {
            return None;
        }
        let site = site_id(Kind::AbortedClose, exe, &[], &stack);
        let call = if aborted.cause == AbortCause::Disconnect { "connect" } else { "close" };
        let touch = Touch { call: call.to_owned(), result: None, seconds_ago: None, whole, stack };
        if self.sites.len() >= MAX_WAITING {
            self.sites.clear();
        }
        self.sites.insert(key, (site.clone(), touch.clone()));
        Some((site, touch))
    }
}

fn process_of(key: &AbortKey) -> ProcessKey {
    ProcessKey { tgid: key.tgid, started_at: key.started_at }
}

/// The name that the process had when it first closed so.
fn name(comm: &[u8]) -> String {
    printable(comm.split(|byte| *byte == 0).next().unwrap_or_default())
}

fn aborted(
    process: ProcessKey,
    identity: Identity,
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
