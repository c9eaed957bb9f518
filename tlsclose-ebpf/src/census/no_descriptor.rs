//! Half-closed sockets that a file holds and no descriptor table shows: a thread blocked in a call
//! keeps one open whose descriptor was closed, io_uring holds registered files, and a descriptor
//! may be on its way through a Unix socket. The exact map minus the census is what is left.

use core::ffi::c_void;

use tlsclose_common::{
    facts::{CensusCounts, Control, HalfClosed, Holder, holder},
    limits::UNHELD_RECORDS,
};

use crate::{
    census::{
        met::MET,
        record::{QUEUED, emit},
    },
    kernel::{Stray, access, is_half_closed, reads_by_address},
    maps::{CENSUS, CLOSERS, CONTROL, HALF_CLOSED, ORIGIN, Values},
    sockets::{close_evidence, origin::NO_ORIGIN},
};

struct Sweep {
    seq: *mut c_void,
    record: *mut Holder,
    counts: *mut CensusCounts,
    census_began: u64,
    census: u32,
    /// What an entry to be written out has in [`HalfClosed::shown`].
    shown: u32,
}

/// The census has met every entry that was there when it began. It may have, and this not know.
#[inline(always)]
fn met_all(control: &Control) -> bool {
    let Some(met) = MET.get(0) else { return false };
    let entries = if met.census == control.census { met.entries } else { 0 };
    entries as u64 == control.half_closed
}

/// The walk over all descriptors is done: writes out what it has not met. What does not fit is counted; what fitted once
/// comes first, so that it is not missed from one census and shown by the next.
#[inline(always)]
pub fn sweep(seq: *mut c_void) -> Option<()> {
    let control = CONTROL.get(0)?;
    if control.sees_all == 0 || !reads_by_address() || met_all(control) {
        return None;
    }
    let counts = CENSUS.get_ptr_mut(0)?;
    let record = QUEUED.get_ptr_mut(0)?;
    let mut sweep = Sweep { seq, record, counts, census_began: control.census_began, census: control.census, shown: 1 };
    // SAFETY: `entry` gets `sweep`, which outlives the call; a map is known by the address of its
    // static. Should the output not fit, the kernel runs this again: so the count begins anew. It is
    // kept in the map, where verifiers do not follow its value from entry to entry.
    unsafe {
        (*sweep.counts).unheld = 0;
        (*sweep.counts).unheld_shown = 0;
        access::for_each((&raw const HALF_CLOSED).cast_mut().cast(), entry, &raw mut sweep);
        if (*sweep.counts).unheld > (*sweep.counts).unheld_shown {
            sweep.shown = 0;
            access::for_each((&raw const HALF_CLOSED).cast_mut().cast(), entry, &raw mut sweep);
        }
    }
    Some(())
}

unsafe extern "C" fn entry(_: *mut c_void, key: *const u64, half: *mut HalfClosed, sweep: *mut Sweep) -> i64 {
    // SAFETY: the kernel's pointers to an entry, and the caller's to `sweep`.
    let (sk, half, sweep) = unsafe { (Stray(*key), &mut *half, &mut *sweep) };
    if half.census == sweep.census || half.since >= sweep.census_began || !is_half_closed(half.state) {
        return 0;
    }
    if !sk.is_tcp() || sk.state() != half.state || sk.peer() != half.peer || !sk.has_file() {
        return 0;
    }
    // SAFETY: this CPU's slot of `CENSUS`.
    let counts = unsafe { &mut *sweep.counts };
    counts.unheld += sweep.shown as u64;
    if half.shown != sweep.shown || counts.unheld_shown >= UNHELD_RECORDS {
        return 0;
    }
    counts.unheld_shown += 1;
    half.shown = 1;
    // SAFETY: this CPU's slot of `QUEUED`.
    let record = unsafe { &mut *sweep.record };
    sk.fill(record);
    record.started_at = 0;
    record.file = 0;
    record.origin = NO_ORIGIN;
    record.half = *half;
    record.tgid = 0;
    record.fd = 0;
    record.flags = holder::UNHELD | holder::HALF;
    if let Some(origin) = ORIGIN.value(sk.0) {
        if origin.peer == half.peer {
            record.origin = *origin;
            record.flags |= holder::ORIGIN;
        }
    }
    if let Some(closer) = CLOSERS.value(sk.0) {
        close_evidence::add(record, closer, half.peer);
    }
    emit(sweep.seq, record);
    0
}
