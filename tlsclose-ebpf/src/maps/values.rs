//! References to what is in the maps: here it says once why they are valid.

use core::borrow::Borrow;

use aya_ebpf::maps::{Array, LruHashMap, PerCpuArray};

/// Values by key, of a map that forgets the one unused for longest where it is full.
///
/// The kernel may give an entry to another key at any time, and another CPU may write it: whoever must know compares
/// what the value says of its owner (`peer`, `started_at`), and what two CPUs count at once may lose one.
pub trait Values<K, V> {
    /// The value of `key`, to be read.
    fn value(&self, key: impl Borrow<K>) -> Option<&'static V>;

    /// The value of `key`, to be changed in place.
    fn value_mut(&self, key: impl Borrow<K>) -> Option<&'static mut V>;
}

impl<K, V> Values<K, V> for LruHashMap<K, V> {
    #[inline(always)]
    fn value(&self, key: impl Borrow<K>) -> Option<&'static V> {
        // SAFETY: LRU entries are recycled, never unmapped, and all that they hold are numbers.
        self.get_ptr(key).map(|value| unsafe { &*value })
    }

    #[inline(always)]
    fn value_mut(&self, key: impl Borrow<K>) -> Option<&'static mut V> {
        // SAFETY: as in `value`.
        self.get_ptr_mut(key).map(|value| unsafe { &mut *value })
    }
}

/// Slots of an array, which live as long as the program.
pub trait Slots<V> {
    /// The slot, of this CPU where each has its own: a program that interrupts this one on its CPU may write it, too.
    fn slot_mut(&self, index: u32) -> Option<&'static mut V>;
}

impl<V> Slots<V> for PerCpuArray<V> {
    #[inline(always)]
    fn slot_mut(&self, index: u32) -> Option<&'static mut V> {
        // SAFETY: arrays are never unmapped while a program uses them, and all that they hold are numbers.
        self.get_ptr_mut(index).map(|slot| unsafe { &mut *slot })
    }
}

impl<V> Slots<V> for Array<V> {
    #[inline(always)]
    fn slot_mut(&self, index: u32) -> Option<&'static mut V> {
        // SAFETY: as above.
        self.get_ptr_mut(index).map(|slot| unsafe { &mut *slot })
    }
}
