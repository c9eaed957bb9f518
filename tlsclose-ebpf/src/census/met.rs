//! Which half-closed sockets a census has met.

use aya_ebpf::{macros::map, maps::Array};
use tlsclose_common::facts::HalfClosed;

use crate::maps::{CONTROL, Slots};

/// An entry of the exact map may be this much older, in ns, than the count of entries that it is in.
const COUNTED_AFTER: u64 = 1_000_000_000;

/// Half-closed sockets that the census has met.
#[map]
pub static MET: Array<Met> = Array::with_max_entries(1, 0);

/// Entries of the exact map that a census has met.
#[repr(C)]
pub struct Met {
    pub census: u32,
    /// Without those that may not have been there when the census began.
    pub entries: u32,
}

/// This census has met the socket of the entry.
#[inline(always)]
pub fn met(half: &mut HalfClosed) {
    let Some(control) = CONTROL.get(0) else { return };
    if half.census == control.census {
        return;
    }
    half.census = control.census;
    if half.since == 0 || half.since + COUNTED_AFTER >= control.census_began {
        return;
    }
    let Some(met) = MET.slot_mut(0) else { return };
    // One census runs at a time.
    if met.census != control.census {
        *met = Met { census: control.census, entries: 0 };
    }
    met.entries += 1;
}
