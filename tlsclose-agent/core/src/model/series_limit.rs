//! Which programs have metric series of their own. They are bounded, end some time after their last
//! process, and never move: what began among the others stays there. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use crate::{clock::Moment, sites::OTHER, snapshot::Identity};

/// How long series and sites stay after their last process.
pub const RETENTION: Duration = Duration::from_secs(300);
/// Programs remembered as having no series of their own, for each that may have one.
const OTHERS: usize = 8;

pub struct Programs {
    limit: usize,
    /// With series of their own, and when each was last alive.
    known: BTreeMap<Identity, Moment>,
    others: HashMap<Identity, Moment>,
}

impl Programs {
    /// At most `limit` have series of their own.
    pub fn new(limit: usize) -> Self {
        Self { limit, known: BTreeMap::new(), others: HashMap::new() }
    }

    /// The labels of a program's series, which is alive: its own, or `~other`.
    pub fn label(&mut self, identity: &Identity, now: Moment) -> Identity {
        let is_known = self.known.contains_key(identity) || self.others.contains_key(identity);
        if !is_known && self.known.len() < self.limit {
            self.known.insert(identity.clone(), now);
        } else if !is_known && self.others.len() < OTHERS * self.limit {
            self.others.insert(identity.clone(), now);
        }
        self.is_alive(identity, now);
        if self.known.contains_key(identity) { identity.clone() } else { other() }
    }

    /// A process of the program is alive.
    pub fn is_alive(&mut self, identity: &Identity, now: Moment) {
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
    pub fn has(&self, label: &Identity) -> bool {
        label.comm == OTHER || self.known.contains_key(label)
    }
}

fn other() -> Identity {
    let other = || OTHER.to_owned();
    Identity { namespace: other(), pod: other(), container: other(), comm: other() }
}
