//! Files that several descriptors refer to: a census counts each once.
//!
//! A hash table with open addressing. What an earlier census left in it is free, so that nothing is ever removed, and
//! nothing that this census has put there is lost. Only one walk goes on at a time: it needs no lock.

use core::ffi::c_void;

use tlsclose_common::{
    facts::{CensusCounts, SharedFile},
    limits::{SHARED_FILES_ENTRIES, SHARED_FILES_PROBES},
};

use crate::maps::{CONTROL, SHARED_FILES, Slots};

/// This census has not counted a file that somebody besides one descriptor and the iterator holds.
#[inline(always)]
pub fn first_sight(file: *const c_void, counts: &mut CensusCounts) -> bool {
    let Some(census) = CONTROL.get(0).map(|control| control.census) else { return true };
    let file = number(file, counts);
    let Some(place) = place_of(file, census) else {
        counts.untold += 1;
        return true;
    };
    let is_new = place.census != census;
    *place = SharedFile { file, census, pad: 0 };
    is_new
}

/// The file will be shown again, and counts then.
#[inline(always)]
pub fn forget(file: *const c_void, counts: &mut CensusCounts) {
    let Some(census) = CONTROL.get(0).map(|control| control.census) else { return };
    let file = number(file, counts);
    if let Some(place) = place_of(file, census)
        && place.file == file
    {
        place.census = census.wrapping_sub(1);
    }
}

/// The verifier does not let anybody calculate with an address before it has been in a map.
#[inline(always)]
fn number(file: *const c_void, counts: &mut CensusCounts) -> u64 {
    // SAFETY: a plain number in a map.
    unsafe {
        (&raw mut counts.file).write_volatile(file as u64);
        (&raw const counts.file).read_volatile()
    }
}

/// The place of a file, or the first free one that it may take.
#[inline(always)]
fn place_of(file: u64, census: u32) -> Option<&'static mut SharedFile> {
    const BITS: u32 = SHARED_FILES_ENTRIES.trailing_zeros();
    const { assert!(SHARED_FILES_ENTRIES.is_power_of_two()) };
    let hash = file.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // Files that begin in one place go apart from there.
    let (start, step) = ((hash >> (64 - BITS)) as u32, (hash >> 8) as u32 | 1);
    for probe in 0..SHARED_FILES_PROBES {
        let index = start.wrapping_add(step.wrapping_mul(probe)) & (SHARED_FILES_ENTRIES - 1);
        let place = SHARED_FILES.slot_mut(index)?;
        if place.census != census || place.file == file {
            return Some(place);
        }
    }
    None
}
