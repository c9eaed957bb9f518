//! The file that the census looks at, and holds a reference to meanwhile.

use core::ffi::c_void;

use crate::maps::CENSUS_FILE;

/// The kernel holds a reference to the file until the census goes on to the next.
#[inline(always)]
pub fn look_at(file: *const c_void) {
    if let Some(slot) = CENSUS_FILE.get_ptr_mut(0) {
        // SAFETY: a slot that lives as long as the program; one census runs at a time.
        unsafe { *slot = file as u64 };
    }
}

/// How many of the references to the file are the census's own.
#[inline(always)]
pub fn holds(file: u64) -> u64 {
    // SAFETY: as in `look_at`.
    CENSUS_FILE.get_ptr(0).is_some_and(|slot| unsafe { *slot } == file) as u64
}
