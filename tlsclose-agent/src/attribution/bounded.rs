//! A memory of at most so many entries: what was not used for longest makes room.

use std::{
    hash::Hash,
    num::NonZeroUsize,
    ops::{Deref, DerefMut},
};

use lru::LruCache;

/// An [`LruCache`] whose bound stands in its type. It takes memory for what it holds only.
#[derive(Debug)]
pub struct Bounded<K: Eq + Hash, V, const MAX: usize>(LruCache<K, V>);

impl<K: Eq + Hash, V, const MAX: usize> Default for Bounded<K, V, MAX> {
    fn default() -> Self {
        Self(LruCache::sparse(const { NonZeroUsize::new(MAX).expect("room for something") }))
    }
}

impl<K: Eq + Hash, V, const MAX: usize> Deref for Bounded<K, V, MAX> {
    type Target = LruCache<K, V>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<K: Eq + Hash, V, const MAX: usize> DerefMut for Bounded<K, V, MAX> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_what_was_not_for_longest_goes() {
        let mut kept = Bounded::<u32, (), 3>::default();
        for key in 0..100 {
            kept.put(key, ());
            assert!(kept.get(&0).is_some() && kept.len() <= 3, "after {key}");
        }
        assert!(kept.contains(&99) && !kept.contains(&1));
    }
}
