//! Which programs have metric series of their own. They are bounded, end some time after their last
//! process, and never move: what began among the others stays there. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{Moment, Workload};

/// Label of what does not fit into `--max-sites` or `--max-series`.
pub const OTHER: &str = "~other";
/// Label of sockets of which no code path is known that says what the cause is, and that no site can be guessed for.
pub const UNSAMPLED: &str = "unsampled";

/// How many sites and series there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sites.
    pub sites: usize,
    /// Series of sites.
    pub series: usize,
    /// Programs with series of their own for their closes of TLS connections, and with gauges of their own.
    pub programs: usize,
}

/// How long series and sites stay after their last process.
pub const RETENTION: Duration = Duration::from_secs(300);
/// SeriesLimit remembered as having no series of their own, for each that may have one.
const OTHERS: usize = 8;

/// The programs that have series of their own.
pub struct SeriesLimit {
    limit: usize,
    /// With series of their own, and when each was last alive.
    known: BTreeMap<Workload, Moment>,
    others: HashMap<Workload, Moment>,
}

impl SeriesLimit {
    /// At most `limit` have series of their own.
    pub fn new(limit: usize) -> Self {
        Self { limit, known: BTreeMap::new(), others: HashMap::new() }
    }

    /// The labels of a program's series, which is alive: its own, or `~other`.
    pub fn label(&mut self, identity: &Workload, now: Moment) -> Workload {
        let is_known = self.known.contains_key(identity) || self.others.contains_key(identity);
        if !is_known && self.known.len() < self.limit {
            self.known.insert(identity.clone(), now);
        } else if !is_known && self.others.len() < OTHERS * self.limit {
            self.others.insert(identity.clone(), now);
        }
        self.mark_alive(identity, now);
        if self.known.contains_key(identity) { identity.clone() } else { other() }
    }

    /// A process of the program is alive.
    pub fn mark_alive(&mut self, identity: &Workload, now: Moment) {
        if let Some(alive_at) = self.known.get_mut(identity).or_else(|| self.others.get_mut(identity)) {
            *alive_at = now;
        }
    }

    /// Forgets programs that have had no process for a while.
    pub fn forget(&mut self, now: Moment) {
        self.known.retain(|_, alive_at| now.since(*alive_at) < RETENTION);
        self.others.retain(|_, alive_at| now.since(*alive_at) < RETENTION);
    }

    /// Whether series with these labels stay.
    pub fn has(&self, label: &Workload) -> bool {
        label.comm == OTHER || self.known.contains_key(label)
    }
}

/// The labels of all that have none of their own.
pub fn other() -> Workload {
    let other = || OTHER.to_owned();
    Workload { namespace: other(), pod: other(), container: other(), comm: other() }
}
