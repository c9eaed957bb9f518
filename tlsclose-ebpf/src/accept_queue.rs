//! Connections that nobody has accepted have no file: the census finds them in the accept queues
//! of the listeners that it meets.
//!
//! The queue is read without its lock. It may change meanwhile, and a walk may stray into
//! another one: each child is checked to be of this listener, port and namespace.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use tlsclose_common::{
    facts::{AcceptQueue, Holder, Lost, Origin, call, holder, state},
    limits::{QUEUE_RECORDS, QUEUE_WALK},
};

use crate::{
    arch,
    census::{HeldBy, NO_ORIGIN, emit, fill},
    kernel::{Request, Task, Tcp, access, global},
    maps::{LISTENERS, QUEUED, lost},
    stack,
};

/// Set at load: 1 where the kernel knows `bpf_loop` (5.17). A plain loop over so many branches is
/// more than the verifier takes: before, a queue's length is all that is known.
#[unsafe(no_mangle)]
pub static BPF_LOOP: u32 = 0;

/// listen() moves CLOSE → LISTEN in process context, under the caller.
#[inline(always)]
pub fn listening(sk: Tcp) {
    if !sk.owned() {
        return;
    }
    let tgid = stack::current_tgid();
    let opened = stack::sample(tgid);
    if opened != 0 {
        // SAFETY: a helper without arguments.
        let opened_at = unsafe { bpf_ktime_get_ns() };
        keep(sk.address(), Origin { opened_at, opened, tgid, opened_call: call::LISTEN, ..NO_ORIGIN });
    }
}

/// The listener listens no more.
#[inline(always)]
pub fn ended(sk: Tcp) {
    // Fails only when nothing was kept of it.
    let _ = LISTENERS.remove(sk.address());
}

/// The current task accepted a connection: remember for the listener, the call's first argument, where.
#[inline(always)]
pub fn accepted(task: Task, tgid: u32, touched: u64, which: u8) {
    let Some((listener, _)) = task.socket_at(arch::first_argument(task.as_ptr()) as u32) else { return };
    // SAFETY: a helper without arguments.
    let touched_at = unsafe { bpf_ktime_get_ns() };
    if let Some(known) = LISTENERS.get_ptr_mut(listener) {
        // SAFETY: LRU entries are recycled, never unmapped.
        let known = unsafe { &mut *known };
        known.touched = touched;
        known.touched_at = touched_at;
        known.touched_call = which;
        return;
    }
    // It listened before these programs were there to see it.
    keep(listener, Origin { tgid, touched, touched_at, touched_call: which, ..NO_ORIGIN });
}

#[inline(always)]
fn keep(listener: u64, origin: Origin) {
    if LISTENERS.insert(listener, origin, 0).is_err() {
        lost(Lost::OriginsMapFull);
    }
}

/// A walk along one queue.
struct Walk {
    seq: *mut c_void,
    next: Request,
    listener: Listener,
    record: *mut Holder,
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

/// Writes out one record for the listener and one for each of the first children whose peer has
/// given up.
#[inline(always)]
pub fn write_out(seq: *mut c_void, sk: Tcp, held_by: HeldBy, first_holder: bool) -> Option<()> {
    let (length, limit) = sk.backlog();
    if length == 0 {
        return None;
    }
    let record = QUEUED.get_ptr_mut(0)?;
    let mut walk = Walk {
        seq,
        next: sk.sequences()?.queue(),
        listener: Listener { held_by, sk: sk.address(), netns: sk.netns(), local_port: sk.local_port() },
        record,
        walked: 0,
        half_closed: 0,
        count_only: !first_holder,
    };
    if global!(BPF_LOOP) != 0 {
        // SAFETY: `step` gets `walk`, which outlives the call.
        unsafe { access::repeat(QUEUE_WALK, step, &raw mut walk) };
    }
    let queue = AcceptQueue { length, limit, walked: walk.walked, half_closed: walk.half_closed };
    fill(record, held_by, sk, 0)?;
    add_origin(record, sk.address());
    // SAFETY: this CPU's slot of `QUEUED`.
    unsafe { (*record).set_accept_queue(queue) };
    emit(seq, record);
    Some(())
}

#[inline(always)]
fn add_origin(record: *mut Holder, listener: u64) {
    if let Some(origin) = LISTENERS.get_ptr(listener) {
        // SAFETY: this CPU's slot of `QUEUED`; LRU entries are recycled, never unmapped.
        unsafe {
            (*record).origin = *origin;
            (*record).flags |= holder::ORIGIN;
        }
    }
}

/// Looks at the next child; 1 when there is none.
unsafe extern "C" fn step(_: u32, walk: *mut Walk) -> i64 {
    // SAFETY: the caller's, see above.
    let walk = unsafe { &mut *walk };
    let request = walk.next;
    if request.is_none() {
        return 1;
    }
    walk.next = request.next();
    walk.walked += 1;
    let Some(child) = request.child() else { return 0 };
    let listener = walk.listener;
    if child.state() != state::CLOSE_WAIT
        || request.listener() != listener.sk
        || child.local_port() != listener.local_port
        || child.netns() != listener.netns
    {
        return 0;
    }
    walk.half_closed += 1;
    if walk.half_closed > QUEUE_RECORDS || walk.count_only {
        return 0;
    }
    let held_by = HeldBy { file: listener.sk, ..listener.held_by };
    if fill(walk.record, held_by, child, holder::QUEUED).is_some() {
        add_origin(walk.record, listener.sk);
        emit(walk.seq, walk.record);
    }
    0
}
