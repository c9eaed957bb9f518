//! Closes of TLS connections on their way from the kernel's counters into the accounts.

use std::collections::HashMap;

use tlsclose_common::facts::{TlsCloseKey, TlsStackKey};

use super::{Attribution, containers::Whereabouts, process::printable, site::site_id};
use crate::{
    clock::Moment,
    finding::{Kind, Touch},
    kernel::{load::Kernel, tls::TlsCount},
    snapshot::Identity,
    tls::{Accounts, Close, Sampled},
    tracker::{PathId, ProcessKey},
};

/// Samples that wait for their stacks.
const MAX_WAITING: usize = 4096;
/// Times that a sample is looked up in vain: its stack was lost, or is on its way.
const PATIENCE: u8 = 3;
/// Entries of dead processes are kept for so many censuses: their last close may still run.
const LINGER: u8 = 2;

#[derive(Default)]
pub struct Goodbyes {
    /// Counts as last seen, the name that came with them, and for how many censuses the process
    /// has been dead.
    seen: HashMap<TlsCloseKey, Seen>,
    waiting: Vec<(TlsStackKey, u64, u8)>,
    /// Site labels and stacks of paths, by program.
    sites: HashMap<(PathId, String), (String, Touch)>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    count: u64,
    dead_for: u8,
}

impl Goodbyes {
    /// Takes in what was counted and sampled since this was called last.
    pub fn learn(&mut self, kernel: &mut Kernel, attribution: &mut Attribution, accounts: &mut Accounts, now: Moment) {
        accounts.begin(now);
        let samples = kernel.take_tls_stacks();
        let mut labels: HashMap<ProcessKey, Identity> = HashMap::new();
        for counted in kernel.tls_closes() {
            let process = process_of(&counted.key);
            let whereabouts = attribution.whereabouts(process);
            if matches!(whereabouts, Some(Whereabouts::Pending(_))) {
                // The counts stay where they are until the runtime has answered: a series never moves.
                continue;
            }
            let container = whereabouts.and_then(Whereabouts::container);
            let identity = Identity::new(name(&counted, attribution), container.as_ref());
            labels.insert(process, identity.clone());
            let seen = self.seen.entry(counted.key).or_default();
            let fresh = counted.count.saturating_sub(seen.count);
            seen.count = counted.count;
            if fresh > 0 {
                seen.dead_for = 0;
                accounts.book(&close(counted.key, fresh, identity, attribution), now);
            } else if attribution.procfs.is_alive(process.into()) {
                seen.dead_for = 0;
                accounts.is_alive(&identity, now);
            } else {
                seen.dead_for += 1;
                if seen.dead_for > LINGER {
                    self.seen.remove(&counted.key);
                    kernel.forget_tls_closes(counted.key);
                }
            }
        }
        let waiting = std::mem::take(&mut self.waiting);
        for (key, count, tries) in waiting.into_iter().chain(samples.into_iter().map(|(key, count)| (key, count, 0))) {
            let identity = labels.get(&process_of(&key.close));
            let left = match identity.zip(attribution.paths.by_key(key.stack)) {
                Some((identity, path)) => {
                    let close = close(key.close, count, identity.clone(), attribution);
                    match self.site(path, &close.exe, attribution) {
                        Some((site, closed)) => accounts.sampled(&Sampled { close, site, closed }, now),
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
    fn site(&mut self, path: PathId, exe: &str, attribution: &mut Attribution) -> Option<(String, Touch)> {
        let key = (path, exe.to_owned());
        if let Some(known) = self.sites.get(&key) {
            return Some(known.clone());
        }
        let (stack, whole) = attribution.frames(path);
        if stack.is_empty() {
            return None;
        }
        let site = site_id(Kind::TlsTruncated, exe, &[], &stack);
        let touch = Touch { call: "close".to_owned(), result: None, seconds_ago: None, whole, stack };
        self.sites.insert(key, (site.clone(), touch.clone()));
        Some((site, touch))
    }
}

fn process_of(key: &TlsCloseKey) -> ProcessKey {
    ProcessKey { tgid: key.tgid, started_at: key.started_at }
}

/// The name that the process had when it closed, else what it is called now.
fn name(counted: &TlsCount, attribution: &mut Attribution) -> String {
    let length = counted.comm.iter().position(|byte| *byte == 0).unwrap_or(counted.comm.len());
    if length > 0 {
        return printable(&counted.comm[..length]);
    }
    attribution.identity(process_of(&counted.key)).map(|who| who.comm.clone()).unwrap_or_default()
}

fn close(key: TlsCloseKey, count: u64, identity: Identity, attribution: &mut Attribution) -> Close {
    let process = process_of(&key);
    let exe = attribution.identity(process).map(|who| who.exe.clone()).unwrap_or_default();
    Close { process, identity, exe, facts: key.facts, count }
}
