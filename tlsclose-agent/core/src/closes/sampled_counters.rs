//! What counters of ended connections have in common on their way from the kernel into the accounts.

use std::{collections::HashMap, hash::Hash};

use tlsclose_common::facts::Comm;

/// Samples that wait for their stacks, and sites that are remembered.
pub const MAX_WAITING: usize = 4096;
/// Times that a sample is looked up in vain: its stack was lost, or is on its way.
pub const TRIES: u8 = 3;
/// Counters of dead processes are kept for so many censuses: their last close may still run.
const LINGER: u8 = 2;

/// A counter as the kernel side has it.
#[derive(Clone, Copy, Debug)]
pub struct Counted<K> {
    /// What is counted: a process and how its connections ended.
    pub key: K,
    /// Connections since the programs were loaded.
    pub count: u64,
    /// Name of the process when it was first counted; empty when not known.
    pub comm: Comm,
}

/// What the kernel side has counted, and the closes that it has sampled since it was asked last.
#[derive(Clone, Debug)]
pub struct CountedCloses<K, S> {
    /// Every counter there is.
    pub counted: Vec<Counted<K>>,
    /// Stacks that were sampled since the last time, and for how many connections.
    pub samples: Vec<(S, u64)>,
}

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
    pub fn retire_if_dead(&mut self, key: &K, has_grown: bool, is_alive: impl FnOnce() -> bool) -> bool {
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
            if left > 0 && tries < TRIES && self.0.len() < MAX_WAITING {
                self.0.push((key, left, tries + 1));
            }
        }
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
        assert!(!growing.retire_if_dead(&7, false, dead) && !growing.retire_if_dead(&7, false, dead));
        assert!(!growing.retire_if_dead(&7, true, dead), "it has grown meanwhile");
        assert!(!growing.retire_if_dead(&7, false, dead) && !growing.retire_if_dead(&7, false, || true), "it is alive");
        assert!(!growing.retire_if_dead(&7, false, dead) && !growing.retire_if_dead(&7, false, dead));
        assert!(growing.retire_if_dead(&7, false, dead));
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
