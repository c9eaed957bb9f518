//! The census: who holds which socket, now.
//!
//! The kernel walks every descriptor of every task in the reader's PID namespace, in every
//! network namespace (kernel/bpf/task_iter.c). Half-closed sockets are written out, the others
//! only counted. A socket reset by its peer is in no listing of the kernel, but its descriptor is.

pub mod accept_queue;
pub mod current_file;
mod fd_tables;
mod met;
pub mod no_descriptor;
mod record;
mod shared_files;
mod silence;

use core::{ffi::c_void, mem::MaybeUninit};

use tlsclose_common::facts::{CensusCounts, Holder, Lost, Silence, holder, state, table};

use self::record::{HeldBy, emit, fill};
use crate::{
    kernel::{Task, Tcp, access, global, is_half_closed, jiffies, now_ns, references, sock_of},
    maps::{CENSUS, CLOSERS, CONTROL, HALF_CLOSED, ORIGIN, SOCKET_PROCESSES, Slots, Values, lost},
    sockets::close_evidence,
};

/// Set at load: 1 to write out every TCP socket, not only half-closed ones.
#[unsafe(no_mangle)]
static CENSUS_OF_ALL: u32 = 0;

/// `struct bpf_iter__task_file`: each member takes eight bytes, whatever its type.
#[repr(C)]
pub struct TaskFile {
    meta: *const Meta,
    task: *const c_void,
    fd: u32,
    pad: u32,
    file: *const c_void,
}

/// `struct bpf_iter_meta`.
#[repr(C)]
pub struct Meta {
    seq: *mut c_void,
    session: u64,
    number: u64,
}

/// `iter/task_file`, since 5.8.
///
/// # Safety
/// Called by the kernel with the iterator's context.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub unsafe extern "C" fn census(ctx: *const TaskFile) -> i32 {
    // SAFETY: the verifier knows the context's members.
    let (meta, task, fd, file) = unsafe { ((*ctx).meta, (*ctx).task, (*ctx).fd, (*ctx).file) };
    current_file::look_at(file);
    if task.is_null() {
        // SAFETY: as above.
        no_descriptor::sweep(unsafe { (*meta).seq });
    } else if !file.is_null() {
        descriptor(meta, Task::from_ptr(task), fd, file);
    }
    0
}

#[inline(always)]
fn descriptor(meta: *const Meta, task: Task, fd: u32, file: *const c_void) -> Option<()> {
    let counts = CENSUS.slot_mut(0)?;
    enter_task(counts, task);
    if counts.table == table::SEEN {
        return None;
    }
    counts.fds += 1;
    let sk = tcp_of(file)?;
    if counts.noted_task != task.as_ptr() as u64 {
        counts.noted_task = task.as_ptr() as u64;
        note_process(task.tgid());
    }
    let state_now = sk.state();
    let references = references(file);
    if references < 2 {
        // Only the iterator holds it: its owner is inside the last close().
        return None;
    }
    let first_holder = (references == 2 && counts.table == table::OWN) || shared_files::first_sight(file, counts);
    if first_holder {
        // SAFETY: 16 slots, index below 16.
        unsafe { *(&raw mut counts.sockets).cast::<u64>().add(state_now as usize & 15) += 1 };
    }
    let all = global!(CENSUS_OF_ALL) != 0;
    let is_listener = state_now == state::LISTEN && !all;
    let may_be_half_open = state_now == state::ESTABLISHED && !all;
    // No `Option`: verifiers before 6.3 do not let what is undefined in one be copied along.
    let silence = if may_be_half_open {
        silence::silence(sk, counts.jiffies)?
    } else if is_half_closed(state_now) || is_listener || all {
        Silence::NONE
    } else {
        return None;
    };
    let held_by = HeldBy { started_at: task.started_at(), file: file as u64, tgid: task.tgid(), fd };
    // SAFETY: the verifier knows the iterator's context.
    let seq = unsafe { (*meta).seq };
    let shown = if is_listener {
        accept_queue::write_out(seq, sk, held_by, first_holder)
    } else {
        show(seq, sk, held_by, state_now, may_be_half_open, silence)?
    };
    if !shown {
        take_back(counts, state_now, first_holder, file);
    }
    Some(())
}

/// Another task than before is counted, unless its table was counted already.
#[inline(always)]
fn enter_task(counts: &mut CensusCounts, task: Task) {
    if counts.last_task == task.as_ptr() as u64 {
        return;
    }
    counts.last_task = task.as_ptr() as u64;
    counts.table = fd_tables::of(task);
    counts.tasks += (counts.table != table::SEEN) as u64;
    counts.jiffies = jiffies();
    counts.now = now_ns();
}

/// The TCP socket behind a file, if it is one.
#[inline(always)]
fn tcp_of(file: *const c_void) -> Option<Tcp> {
    let socket = access::socket_from_file(file);
    if socket.is_null() {
        return None;
    }
    let sk = sock_of(socket);
    if sk.is_null() { None } else { Tcp::new(sk) }
}

/// Writes out a socket with what is known about it; false where there was no room. None where it never was connected.
#[inline(always)]
fn show(
    seq: *mut c_void,
    sk: Tcp,
    held_by: HeldBy,
    state_now: u8,
    may_be_half_open: bool,
    silence: Silence,
) -> Option<bool> {
    // First of all: none of them waits for another one's way from memory then, nor do the socket's own fields.
    let half = HALF_CLOSED.get_ptr_mut(sk.address());
    let origin = ORIGIN.value(sk.address());
    let closer = if may_be_half_open { None } else { CLOSERS.value(sk.address()) };
    let mut record = MaybeUninit::<Holder>::uninit();
    fill(record.as_mut_ptr(), held_by, sk, half)?;
    // SAFETY: `fill` has written every field.
    let record = unsafe { record.assume_init_mut() };
    if state_now == state::CLOSE && record.flags & holder::HALF == 0 && !was_connected(sk) {
        return None;
    }
    let peer = if record.flags & holder::HALF != 0 { record.half.peer } else { sk.peer() };
    if let Some(origin) = origin {
        if origin.peer == peer {
            record.origin = *origin;
            record.flags |= holder::ORIGIN;
        } else {
            record.flags |= holder::STALE;
        }
    }
    if may_be_half_open {
        record.set_silence(silence);
    } else if let Some(closer) = closer {
        close_evidence::add(record, closer, sk.peer());
    }
    Some(emit(seq, record))
}

/// The descriptor will be shown again: it has not been counted, nor its file seen.
#[inline(always)]
fn take_back(counts: &mut CensusCounts, state: u8, first_holder: bool, file: *const c_void) {
    counts.fds -= 1;
    if !first_holder {
        return;
    }
    // SAFETY: as where it was counted.
    unsafe { *(&raw mut counts.sockets).cast::<u64>().add(state as usize & 15) -= 1 };
    shared_files::forget(file, counts);
}

/// The process has a TCP socket: its calls of close() are of interest.
#[inline(always)]
fn note_process(tgid: u32) {
    let Some(control) = CONTROL.get(0) else { return };
    if let Some(seen) = SOCKET_PROCESSES.value_mut(tgid) {
        *seen = control.census;
    } else if SOCKET_PROCESSES.insert(tgid, control.census, 0).is_err() {
        lost(Lost::ProcessesMapFull);
    }
}

/// A fresh, bound or never-connected socket is in CLOSE too: this one was shut down both ways
/// and still knows its peer.
#[inline(always)]
fn was_connected(sk: Tcp) -> bool {
    sk.shutdown() & 3 == 3 && sk.remote_port() != 0
}
