//! Connections that nobody has accepted have no file: the census finds them in the accept queues
//! of the listeners that it meets.
//!
//! The queue is read without its lock. It may change meanwhile, and a walk may stray into
//! another one: each child is checked to be of this listener, port and namespace.

use core::ffi::c_void;

use aya_ebpf::{macros::map, maps::PerCpuArray};
use tlsclose_common::{
    facts::{AcceptQueue, Holder, holder, state},
    limits::{QUEUE_RECORDS, QUEUE_STRETCH, QUEUE_STRETCHES},
};

use crate::{
    census::record::{HeldBy, QUEUED, add_half, emit, fill},
    kernel::{Request, Tcp, reads_by_address},
    maps::{HALF_CLOSED, LISTENERS, Slots, Values},
    sockets::origin::NO_ORIGIN,
};

/// How far the walk along an accept queue is.
#[map]
static QUEUE_WALK: PerCpuArray<QueueWalk> = PerCpuArray::with_max_entries(1, 0);

/// A walk along one queue. It stays in a map: the functions that the verifier looks at once take
/// nothing but numbers.
pub struct QueueWalk {
    listener: Listener,
    /// Address of the next `struct request_sock`.
    next: u64,
    walked: u32,
    half_closed: u32,
    /// Somebody else's descriptor of this listener has shown the children already.
    count_only: bool,
}

#[derive(Clone, Copy)]
struct Listener {
    held_by: HeldBy,
    sk: u64,
    netns: u32,
    local_port: u16,
}

/// What [`walk_queue`] came to.
mod walked {
    /// All that one call looks at.
    pub const ON: u64 = 0;
    /// A child whose record is to be written out.
    pub const CHILD: u64 = 1;
    pub const END: u64 = 2;
}

/// Writes out one record for the listener and one for each of the first children whose peer has
/// given up. False when they did not fit, see [`emit`].
#[inline(always)]
pub fn write_out(seq: *mut c_void, sk: Tcp, held_by: HeldBy, first_holder: bool) -> bool {
    let (length, limit) = sk.backlog();
    let Some(sequences) = sk.sequences() else { return true };
    let (requests, young) = sequences.requests();
    if length == 0 && requests == 0 {
        return true;
    }
    let (Some(record), Some(walk)) = (QUEUED.get_ptr_mut(0), QUEUE_WALK.slot_mut(0)) else { return true };
    *walk = QueueWalk {
        listener: Listener { held_by, sk: sk.address(), netns: sk.netns(), local_port: sk.local_port() },
        next: if reads_by_address() { sequences.queue() } else { 0 },
        walked: 0,
        half_closed: 0,
        count_only: !first_holder,
    };
    for _ in 0..QUEUE_RECORDS + QUEUE_STRETCHES {
        match walk_queue() {
            walked::ON => {}
            // Should it not fit, the record of the listener does not either.
            walked::CHILD => _ = emit(seq, record),
            _ => break,
        }
    }
    let (walked, half_closed) = (walk.walked, walk.half_closed);
    let queue = AcceptQueue { length, limit, walked, half_closed, requests, young };
    if fill(record, held_by, sk, None).is_none() {
        return true;
    }
    add_origin(record, sk.address());
    // SAFETY: this CPU's slot of `QUEUED`.
    unsafe { (*record).set_accept_queue(queue) };
    emit(seq, record)
}

#[inline(always)]
fn add_origin(record: *mut Holder, listener: u64) {
    if let Some(origin) = LISTENERS.value(listener) {
        // SAFETY: this CPU's slot of `QUEUED`.
        unsafe {
            (*record).origin = *origin;
            (*record).flags |= holder::ORIGIN;
        }
    }
}

/// Looks at the next children, until one is to be written out: its record is in `QUEUED` then.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_queue() -> u64 {
    let (Some(record), Some(walk)) = (QUEUED.get_ptr_mut(0), QUEUE_WALK.slot_mut(0)) else { return walked::END };
    // SAFETY: this CPU's slot, which belongs to the census that runs here.
    let record: &mut Holder = unsafe { &mut *record };
    for _ in 0..QUEUE_STRETCH {
        let request = Request(walk.next);
        if request.is_none() {
            return walked::END;
        }
        walk.next = request.next();
        walk.walked += 1;
        let (child, listener) = (request.child(), &walk.listener);
        if !child.is_tcp()
            || child.state() != state::CLOSE_WAIT
            || request.listener() != listener.sk
            || child.bound_port() != listener.local_port
            || child.netns() != listener.netns
        {
            continue;
        }
        walk.half_closed += 1;
        if walk.half_closed > QUEUE_RECORDS || walk.count_only {
            continue;
        }
        child.fill(record);
        record.started_at = listener.held_by.started_at;
        record.file = listener.sk;
        record.origin = NO_ORIGIN;
        record.tgid = listener.held_by.tgid;
        record.fd = listener.held_by.fd;
        record.flags = holder::QUEUED;
        add_half(record, HALF_CLOSED.get_ptr_mut(child.0), child.peer());
        add_origin(record, listener.sk);
        return walked::CHILD;
    }
    walked::ON
}
