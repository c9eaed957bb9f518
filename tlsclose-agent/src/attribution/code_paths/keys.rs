//! Which stack the kernel side means by a key.

use std::collections::HashMap;

use tlsclose_core::model::PathId;

/// Keys of stacks in one generation.
const MAX_KEYS: usize = 65_536;

/// Keys in two generations: when one is full, the older goes.
#[derive(Default)]
pub struct Generations {
    young: HashMap<u64, PathId>,
    old: HashMap<u64, PathId>,
    dropped: Vec<u64>,
}

impl Generations {
    pub fn get(&self, key: u64) -> Option<PathId> {
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    pub fn insert(&mut self, key: u64, id: PathId) {
        if self.young.len() >= MAX_KEYS {
            let old = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            self.dropped.extend(old.into_keys());
        }
        self.young.insert(key, id);
    }

    /// Keys that were forgotten since this was asked last.
    pub fn dropped(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.dropped)
    }
}
