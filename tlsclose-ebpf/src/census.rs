//! The census: who holds which socket, now.
//!
//! The kernel walks every descriptor of every task in the reader's PID namespace, in every
//! network namespace (kernel/bpf/task_iter.c). Half-closed sockets are written out, the others
//! only counted. A socket reset by its peer is in no listing of the kernel, but its descriptor is.

pub mod accept_queue;
mod fd_tables;
pub mod no_descriptor;
mod silence;

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns, bpf_seq_write};
use tlsclose_common::facts::{
    CensusCounts, HalfClosed, Holder, Lost, Origin, Silence, call, half, holder, state, table,
};

use crate::{
    kernel::{Sequences, Task, Tcp, access, global, is_half_closed, port_taken, references, sock_of},
    maps::{CENSUS, CENSUS_FILE, CLOSERS, CONTROL, HALF_CLOSED, ORIGIN, SHARED_FILES, SOCKET_PROCESSES, lost},
    sockets::close_evidence,
    tls,
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
    look_at(file);
    if task.is_null() {
        // SAFETY: as above.
        no_descriptor::sweep(unsafe { (*meta).seq });
    } else if !file.is_null() {
        descriptor(meta, Task::from_ptr(task), fd, file);
    }
    0
}

/// The kernel holds a reference to the file until the census goes on to the next.
#[inline(always)]
fn look_at(file: *const c_void) {
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

#[inline(always)]
fn descriptor(meta: *const Meta, task: Task, fd: u32, file: *const c_void) -> Option<()> {
    let counts = CENSUS.get_ptr_mut(0)?;
    // SAFETY: a per-CPU slot that lives as long as the program.
    let counts: &mut CensusCounts = unsafe { &mut *counts };
    if counts.last_task != task.as_ptr() as u64 {
        counts.last_task = task.as_ptr() as u64;
        counts.table = fd_tables::of(task);
        counts.tasks += (counts.table != table::SEEN) as u64;
        // SAFETY: helpers without arguments.
        unsafe {
            counts.jiffies = bpf_jiffies64();
            counts.now = bpf_ktime_get_ns();
        }
    }
    if counts.table == table::SEEN {
        return None;
    }
    counts.fds += 1;
    let socket = access::socket_from_file(file);
    if socket.is_null() {
        return None;
    }
    let sk = sock_of(socket);
    if sk.is_null() {
        return None;
    }
    let sk = Tcp::new(sk)?;
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
    let first_holder = (references == 2 && counts.table == table::OWN) || first_sight(file);
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
    if is_listener {
        if !accept_queue::write_out(seq, sk, held_by, first_holder) {
            take_back(counts, state_now, first_holder, file);
        }
        return None;
    }
    // First of all: none of them waits for another one's way from memory then, nor do the socket's own fields.
    let half = HALF_CLOSED.get_ptr_mut(sk.address());
    let origin = ORIGIN.get_ptr(sk.address());
    let closer = if may_be_half_open { None } else { CLOSERS.get_ptr(sk.address()) };
    let mut record = MaybeUninit::<Holder>::uninit();
    fill(record.as_mut_ptr(), held_by, sk, half)?;
    // SAFETY: `fill` has written every field.
    let record = unsafe { record.assume_init_mut() };
    if state_now == state::CLOSE && record.flags & holder::HALF == 0 && !was_connected(sk) {
        return None;
    }
    let peer = if record.flags & holder::HALF != 0 { record.half.peer } else { sk.peer() };
    if let Some(origin) = origin {
        // SAFETY: LRU entries are recycled, never unmapped; `peer` tells a recycled one.
        let origin = unsafe { &*origin };
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
    if !emit(seq, record) {
        take_back(counts, state_now, first_holder, file);
    }
    Some(())
}

/// Writes a record out. False when the output is full: then the kernel drops all that was written of this descriptor,
/// hands out what came before, and shows the descriptor again (kernel/bpf/bpf_iter.c, `bpf_seq_read`).
#[inline(always)]
pub fn emit(seq: *mut c_void, record: *mut Holder) -> bool {
    // SAFETY: the record is initialised memory of this size, `seq` the iterator's output.
    unsafe { bpf_seq_write(seq.cast(), record.cast(), size_of::<Holder>() as u32) == 0 }
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
    if let Some(last) = SHARED_FILES.get_ptr_mut(file as u64) {
        // SAFETY: LRU entries are recycled, never unmapped.
        unsafe { *last = (*last).wrapping_sub(1) };
    }
}

/// The process has a TCP socket: its calls of close() are of interest.
#[inline(always)]
fn note_process(tgid: u32) {
    let Some(control) = CONTROL.get(0) else { return };
    if let Some(seen) = SOCKET_PROCESSES.get_ptr_mut(tgid) {
        // SAFETY: LRU entries are recycled, never unmapped.
        unsafe { *seen = control.census };
    } else if SOCKET_PROCESSES.insert(tgid, control.census, 0).is_err() {
        lost(Lost::ProcessesMapFull);
    }
}

/// This census has not counted a file that somebody besides one descriptor and the iterator holds.
#[inline(always)]
fn first_sight(file: *const c_void) -> bool {
    let Some(control) = CONTROL.get(0) else { return true };
    let file = file as u64;
    if let Some(last) = SHARED_FILES.get_ptr_mut(file) {
        // SAFETY: LRU entries are recycled, never unmapped.
        let last = unsafe { &mut *last };
        if *last == control.census {
            return false;
        }
        *last = control.census;
    } else if SHARED_FILES.insert(file, control.census, 0).is_err() {
        lost(Lost::ProcessesMapFull);
    }
    true
}

/// A descriptor, and the process that it belongs to.
#[derive(Clone, Copy)]
pub struct HeldBy {
    pub started_at: u64,
    /// See [`Holder::file`].
    pub file: u64,
    pub tgid: u32,
    pub fd: u32,
}

/// Writes every field of the record: what the socket itself says, and what is known of its half-closing (`half`).
#[inline(always)]
pub fn fill(record: *mut Holder, held_by: HeldBy, sk: Tcp, half: Option<*mut HalfClosed>) -> Option<()> {
    let sequences = sk.sequences()?;
    let (local, remote) = sk.addresses();
    // SAFETY: the callers' records, which nothing else refers to; the addresses are 16 bytes each,
    // and unaligned, because the record packs them behind words of four bytes.
    unsafe {
        (*record).sk = sk.address();
        (*record).started_at = held_by.started_at;
        (*record).file = held_by.file;
        (*record).origin = NO_ORIGIN;
        (*record).tgid = held_by.tgid;
        (*record).fd = held_by.fd;
        (*record).netns = sk.netns();
        (*record).write_seq = sequences.write_seq();
        (*record).snd_una = sequences.snd_una();
        (*record).copied_seq = sequences.copied_seq();
        (*record).rcv_nxt = sequences.rcv_nxt();
        (*record).lsndtime = sequences.lsndtime();
        (*record).rcv_tstamp = sequences.rcv_tstamp();
        (&raw mut (*record).local).cast::<[u64; 2]>().write_unaligned(local);
        (&raw mut (*record).remote).cast::<[u64; 2]>().write_unaligned(remote);
        (*record).local_port = local_port(sk, sequences);
        (*record).remote_port = sk.remote_port();
        (*record).family = sk.family();
        (*record).state = sk.state();
        (*record).shutdown = sk.shutdown();
        (*record).flags = 0;
        (*record).tls = tls::standing(sk);
        (*record).pad = [0; 3];
    }
    // SAFETY: as above.
    add_half(unsafe { &mut *record }, half, sk.peer());
    Some(())
}

/// Adds what is known of the socket's half-closing, and notes that this census has met it.
#[inline(always)]
pub fn add_half(record: &mut Holder, half: Option<*mut HalfClosed>, peer: u32) {
    let Some(half) = half else {
        record.half = HalfClosed::NEW;
        return;
    };
    // SAFETY: valid until the program ends.
    let half = unsafe { &mut *half };
    let port = if half.flags & half::CONNECT_FAILED != 0 { port_taken(half.peer, peer) } else { 0 };
    if half.peer == peer || (record.remote_port == 0 && port != 0) {
        if record.remote_port == 0 {
            record.remote_port = port;
        }
        no_descriptor::met(half);
        record.half = *half;
        record.flags |= holder::HALF;
    } else {
        record.half = HalfClosed::NEW;
        record.flags |= holder::STALE;
    }
}

/// `skc_num` lies beside what is read anyway; it is 0 once the port was put, on the way to CLOSE.
#[inline(always)]
fn local_port(sk: Tcp, sequences: Sequences) -> u16 {
    match sk.local_port() {
        0 => sequences.local_port(),
        port => port,
    }
}

/// A fresh, bound or never-connected socket is in CLOSE too: this one was shut down both ways
/// and still knows its peer.
#[inline(always)]
fn was_connected(sk: Tcp) -> bool {
    sk.shutdown() & 3 == 3 && sk.remote_port() != 0
}

pub const NO_ORIGIN: Origin = Origin {
    opened_at: 0,
    opened: 0,
    touched: 0,
    touched_at: 0,
    tgid: 0,
    peer: 0,
    opened_call: call::NONE,
    touched_call: call::NONE,
    pad: [0; 2],
    touched_result: 0,
};
