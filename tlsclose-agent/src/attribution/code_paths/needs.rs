//! Which places that make system calls cannot be told by frame pointers.

use std::collections::{HashMap, HashSet};

use tlsclose_common::facts::{LeafKey, LeafRule, leaf};

use crate::attribution::modules::CodePlace;

/// Places of system calls that are remembered.
const MAX_NEEDS: usize = 8_192;

#[derive(Default)]
pub struct Needs {
    /// Places from which copies are needed for good, and which ([`leaf::COPY`]).
    copies: HashMap<LeafKey, u32>,
    /// Walked stacks ended at these in vain; a copy was asked for, once.
    asked: HashSet<(LeafKey, CodePlace)>,
}

impl Needs {
    pub fn of(&self, key: LeafKey) -> Option<LeafRule> {
        self.copies.get(&key).map(|status| rule(*status))
    }

    /// Copies are needed from this place for good, deep ones where ordinary ones did not do.
    pub fn copies(&mut self, key: LeafKey, deeper: bool) -> LeafRule {
        if self.copies.len() >= MAX_NEEDS {
            self.copies.clear();
        }
        let status = self.copies.entry(key).or_insert(leaf::COPY);
        if deeper {
            *status = leaf::DEEP_COPY;
        }
        rule(*status)
    }

    /// True the first time.
    pub fn ask(&mut self, key: LeafKey, place: CodePlace) -> bool {
        if self.asked.len() >= MAX_NEEDS {
            self.asked.clear();
        }
        self.asked.insert((key, place))
    }
}

/// One that says no more than which stacks to send.
pub fn rule(status: u32) -> LeafRule {
    LeafRule { status, ..LeafRule::default() }
}
