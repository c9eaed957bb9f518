//! Which places that make system calls cannot be told by frame pointers.

use tlsclose_common::facts::{LeafKey, LeafRule, leaf};

use crate::attribution::{bounded::Bounded, modules::CodePlace};

/// Places of system calls that are remembered.
const MAX_NEEDS: usize = 8_192;

#[derive(Default)]
pub struct Needs {
    /// Places from which copies are needed for good, and which ([`leaf::COPY`]).
    copies: Bounded<LeafKey, u32, MAX_NEEDS>,
    /// Walked stacks ended at these in vain; a copy was asked for, once.
    asked: Bounded<(LeafKey, CodePlace), (), MAX_NEEDS>,
}

impl Needs {
    pub fn of(&mut self, key: LeafKey) -> Option<LeafRule> {
        self.copies.get(&key).map(|status| rule(*status))
    }

    /// Copies are needed from this place for good, deep ones where ordinary ones did not do.
    pub fn copies(&mut self, key: LeafKey, deeper: bool) -> LeafRule {
        let status = self.copies.get_or_insert_mut(key, || leaf::COPY);
        if deeper {
            *status = leaf::DEEP_COPY;
        }
        rule(*status)
    }

    /// True the first time.
    pub fn ask(&mut self, key: LeafKey, place: CodePlace) -> bool {
        self.asked.put((key, place), ()).is_none()
    }
}

/// One that says no more than which stacks to send.
pub fn rule(status: u32) -> LeafRule {
    LeafRule { status, ..LeafRule::default() }
}
