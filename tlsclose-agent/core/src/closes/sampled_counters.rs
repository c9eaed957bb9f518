//! What counters of ended connections have in common on their way from the kernel into the accounts.

use std::{collections::HashMap, hash::Hash};

use super::{
    Attribution,
    site::{Trace, site_id},
};
use crate::{
    finding::{Kind, Touch},
    tracker::PathId,
};

/// Samples that wait for their stacks, and sites that are remembered.
const MAX_WAITING: usize = 4096;
/// Times that a sample is looked up in vain: its stack was lost, or is on its way.
const PATIENCE: u8 = 3;
/// Counters of dead processes are kept for so many censuses: their last close may still run.
const LINGER: u8 = 2;

/// Counters that only grow, as last seen.
pub struct Growing<K>(HashMap<K, Seen>);

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    count: u64,
    /// For how many censuses the process has been dead.
    dead_for: u8,
}

impl<K> Default for Growing<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Growing<K> {
    /// By how much the counter has grown since it was last seen.
    pub fn fresh(&mut self, key: K, count: u64) -> u64 {
        let seen = self.0.entry(key).or_default();
        let fresh = count.saturating_sub(seen.count);
        seen.count = count;
        fresh
    }

    /// Its process is dead, and nothing will be added to the counter: it may be removed.
    pub fn is_over(&mut self, key: &K, has_grown: bool, is_alive: impl FnOnce() -> bool) -> bool {
        let Some(seen) = self.0.get_mut(key) else { return false };
        if has_grown || is_alive() {
            seen.dead_for = 0;
            return false;
        }
        seen.dead_for += 1;
        let is_over = seen.dead_for > LINGER;
        if is_over {
            self.0.remove(key);
        }
        is_over
    }
}

/// Samples whose stacks are not known yet.
pub struct Waiting<K>(Vec<(K, u64, u8)>);

impl<K> Default for Waiting<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K> Waiting<K> {
    /// Hands over those that wait, and new ones; `place` says how many of a sample are left to wait.
    pub fn place(&mut self, new: impl IntoIterator<Item = (K, u64)>, mut place: impl FnMut(&K, u64) -> u64) {
        let waiting = std::mem::take(&mut self.0);
        for (key, count, tries) in waiting.into_iter().chain(new.into_iter().map(|(key, count)| (key, count, 0))) {
            let left = place(&key, count);
            if left > 0 && tries < PATIENCE && self.0.len() < MAX_WAITING {
                self.0.push((key, left, tries + 1));
            }
        }
    }
}

/// Site labels and stacks of the paths that closed, by program.
pub struct ClosingSites {
    kind: Kind,
    known: HashMap<(PathId, String), (String, Touch)>,
}

impl ClosingSites {
    pub fn of(kind: Kind) -> Self {
        Self { kind, known: HashMap::new() }
    }

    /// The site of a path, and its stack; None when it says nothing about the cause.
    pub fn site(
        &mut self,
        path: PathId,
        exe: &str,
        call: &str,
        attribution: &mut Attribution,
    ) -> Option<(String, Touch)> {
        let key = (path, exe.to_owned());
        if let Some(known) = self.known.get(&key) {
            return Some(known.clone());
        }
        let (stack, whole) = attribution.frames(path);
        let site = site_id(self.kind, exe, Trace::default(), Trace::new(&stack, whole))?;
        let touch = Touch { call: call.to_owned(), result: None, seconds_ago: None, whole, stack };
        if self.known.len() >= MAX_WAITING {
            self.known.clear();
        }
        self.known.insert(key, (site.clone(), touch.clone()));
        Some((site, touch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_over_when_its_process_has_been_dead_for_some_censuses() {
        let mut growing = Growing::default();
        assert_eq!((growing.fresh(7, 3), growing.fresh(7, 5), growing.fresh(7, 5), growing.fresh(8, 1)), (3, 2, 0, 1));
        let dead = || false;
        assert!(!growing.is_over(&7, false, dead) && !growing.is_over(&7, false, dead));
        assert!(!growing.is_over(&7, true, dead), "it has grown meanwhile");
        assert!(!growing.is_over(&7, false, dead) && !growing.is_over(&7, false, || true), "it is alive");
        assert!(!growing.is_over(&7, false, dead) && !growing.is_over(&7, false, dead));
        assert!(growing.is_over(&7, false, dead));
        assert_eq!(growing.fresh(7, 5), 5, "it was forgotten");
    }

    #[test]
    fn a_sample_waits_for_its_stack_a_few_times() {
        let mut waiting = Waiting::default();
        let mut asked = Vec::new();
        waiting.place([("lost", 4), ("known", 2)], |key, count| if *key == "known" { 0 } else { count - 1 });
        for _ in 0..5 {
            waiting.place([], |key, count| {
                asked.push((*key, count));
                count
            });
        }
        assert_eq!(asked, [("lost", 3); 3]);
    }
}
