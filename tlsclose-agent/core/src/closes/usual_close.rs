//! Where sockets are usually closed, by where they were opened. Pure.

use std::collections::{BTreeMap, HashMap};

use super::sampled_counters::{MAX_WAITING, TRIES};
use crate::model::PathId;

/// Ways to close that are told apart for one way to open; a program has one or two.
const MAX_CLOSINGS: usize = 32;
/// Keys of the stacks that opened and closed some sockets, and how many.
#[derive(Clone, Copy, Debug)]
pub struct Closed {
    /// Key of the stack of the call that opened them.
    pub opened: u64,
    /// Key of the stack of the call that closed them.
    pub closed: u64,
    /// How many that is since the kernel side was last asked.
    pub sockets: u64,
}

/// Closes that were sampled, at both ends of the socket's life: a lower bound of all.
#[derive(Debug, Default)]
pub struct Closes {
    waiting: Vec<(Closed, u8)>,
    by_opening: HashMap<PathId, BTreeMap<PathId, u64>>,
}

impl Closes {
    /// Takes in what the kernel side has counted since this was called last.
    pub fn take(&mut self, fresh: impl IntoIterator<Item = Closed>, path: impl Fn(u64) -> Option<PathId>) {
        let waiting = std::mem::take(&mut self.waiting);
        let all = waiting.into_iter().chain(fresh.into_iter().map(|pair| (pair, 0)));
        for (pair, tries) in all {
            match path(pair.opened).zip(path(pair.closed)) {
                Some((opened, closed)) => self.add(opened, closed, pair.sockets),
                None if tries < TRIES && self.waiting.len() < MAX_WAITING => self.waiting.push((pair, tries + 1)),
                None => {}
            }
        }
    }

    fn add(&mut self, opened: PathId, closed: PathId, sockets: u64) {
        let closings = self.by_opening.entry(opened).or_default();
        if closings.len() < MAX_CLOSINGS || closings.contains_key(&closed) {
            *closings.entry(closed).or_default() += sockets;
        }
    }

    /// The path that closes most of what these paths open, and how many that was.
    pub fn usual(&self, opened: impl IntoIterator<Item = PathId>) -> Option<(PathId, u64)> {
        let mut counts: BTreeMap<PathId, u64> = BTreeMap::new();
        for (closed, count) in opened.into_iter().filter_map(|path| self.by_opening.get(&path)).flatten() {
            *counts.entry(*closed).or_default() += count;
        }
        counts.into_iter().max_by_key(|(_, count)| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(opened: u64, closed: u64, sockets: u64) -> Closed {
        Closed { opened, closed, sockets }
    }

    #[test]
    fn the_usual_close_is_where_most_siblings_were_closed() {
        let mut closes = Closes::default();
        let path = |key: u64| Some(PathId(key as u32));
        closes.take([pair(1, 7, 3), pair(1, 8, 2), pair(2, 8, 2), pair(3, 9, 100)], path);
        assert_eq!(closes.usual([PathId(1)]), Some((PathId(7), 3)));
        assert_eq!(closes.usual([PathId(1), PathId(2)]), Some((PathId(8), 4)));
        assert_eq!(closes.usual([PathId(4)]), None);
    }

    #[test]
    fn stacks_that_arrive_late_are_waited_for_and_not_for_ever() {
        let mut closes = Closes::default();
        closes.take([pair(1, 7, 3)], |_| None);
        closes.take([], |key| Some(PathId(key as u32)));
        assert_eq!(closes.usual([PathId(1)]), Some((PathId(7), 3)));
        closes.take([pair(2, 7, 3)], |_| None);
        for _ in 0..TRIES {
            closes.take([], |_| None);
        }
        assert!(closes.waiting.is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut closes = Closes::default();
        closes.take((0..100).map(|closed| pair(1, closed, 1)), |key| Some(PathId(key as u32)));
        assert_eq!(closes.by_opening[&PathId(1)].len(), MAX_CLOSINGS);
        closes.take((0..9999).map(|closed| pair(2, closed, 1)), |_| None);
        assert_eq!(closes.waiting.len(), MAX_WAITING);
    }
}
