//! The file that the census looks at, and holds a reference to meanwhile.

use core::ffi::c_void;

use crate::maps::{CENSUS_FILE, Slots};

/// The kernel holds a reference to the file until the census goes on to the next.
#[inline(always)]
pub fn look_at(file: *const c_void) {
    if let Some(slot) = CENSUS_FILE.slot_mut(0) {
        // One census runs at a time.
        *slot = file as u64;
    }
}

/// How many of the references to the file are the census's own.
#[inline(always)]
pub fn holds(file: u64) -> u64 {
    CENSUS_FILE.get(0).is_some_and(|slot| *slot == file) as u64
}
