//! The census: who holds which socket, now.
//!
//! The kernel walks every descriptor of every task in the reader's PID namespace, in every
//! network namespace (kernel/bpf/task_iter.c). Half-closed sockets are written out, the others
//! only counted. A socket reset by its peer is in no listing of the kernel, but its descriptor is.

use core::{ffi::c_void, ptr::addr_of};

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns, bpf_seq_write, bpf_sock_from_file};
use tlsclose_common::facts::{CensusCounts, HalfClosed, Holder, Lost, Origin, call, holder, state};

use crate::{
    kernel::{Sequences, Task, Tcp, global, is_half_closed, references, sock_of},
    maps::{CENSUS, CONTROL, HALF_CLOSED, ORIGIN, SHARED_FILES, lost},
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
    if !task.is_null() && !file.is_null() {
        descriptor(meta, Task::from_ptr(task), fd, file);
    }
    0
}

#[inline(always)]
fn descriptor(meta: *const Meta, task: Task, fd: u32, file: *const c_void) -> Option<()> {
    let counts = CENSUS.get_ptr_mut(0)?;
    // SAFETY: a per-CPU slot that lives as long as the program.
    let counts: &mut CensusCounts = unsafe { &mut *counts };
    counts.fds += 1;
    if counts.last_task != task.as_ptr() as u64 {
        counts.last_task = task.as_ptr() as u64;
        counts.tasks += 1;
        // SAFETY: helpers without arguments.
        unsafe {
            counts.jiffies = bpf_jiffies64();
            counts.now = bpf_ktime_get_ns();
        }
    }
    // SAFETY: the helper returns the socket of a socket file, else NULL.
    let socket = unsafe { bpf_sock_from_file(file as *mut _) } as *const c_void;
    if socket.is_null() {
        return None;
    }
    let sk = sock_of(socket);
    if sk.is_null() {
        return None;
    }
    let sk = Tcp::new(sk)?;
    let state_now = sk.state();
    let references = references(file);
    if references < 2 {
        // Only the iterator holds it: its owner is inside the last close().
        return None;
    }
    if references == 2 || first_sight(file) {
        // SAFETY: 16 slots, index below 16.
        unsafe { *(&raw mut counts.sockets).cast::<u64>().add(state_now as usize & 15) += 1 };
    }
    if is_half_closed(state_now) || global!(CENSUS_OF_ALL) != 0 {
        write_out(meta, task, fd, file, sk, state_now)?;
    }
    Some(())
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

#[inline(always)]
fn write_out(meta: *const Meta, task: Task, fd: u32, file: *const c_void, sk: Tcp, state_now: u8) -> Option<()> {
    let sequences = sk.sequences()?;
    let (local, remote) = sk.addresses();
    let mut record = Holder {
        sk: sk.address(),
        started_at: task.started_at(),
        file: file as u64,
        origin: NO_ORIGIN,
        half: HalfClosed::NEW,
        tgid: task.tgid(),
        fd,
        netns: sk.netns(),
        write_seq: sequences.write_seq(),
        snd_una: sequences.snd_una(),
        copied_seq: sequences.copied_seq(),
        rcv_nxt: sequences.rcv_nxt(),
        lsndtime: sequences.lsndtime(),
        rcv_tstamp: sequences.rcv_tstamp(),
        local: [0; 16],
        remote: [0; 16],
        local_port: local_port(sk, sequences),
        remote_port: sk.remote_port(),
        family: sk.family(),
        state: state_now,
        shutdown: sk.shutdown(),
        flags: 0,
        pad: [0; 4],
    };
    // SAFETY: 16 bytes each; unaligned, because the record packs them behind words of four bytes.
    unsafe {
        (&raw mut record.local).cast::<[u64; 2]>().write_unaligned(local);
        (&raw mut record.remote).cast::<[u64; 2]>().write_unaligned(remote);
    }
    let peer = sk.peer();
    if let Some(half) = HALF_CLOSED.get_ptr(sk.address()) {
        // SAFETY: valid until the program ends.
        let half = unsafe { &*half };
        if half.peer == peer {
            record.half = *half;
            record.flags |= holder::HALF;
        } else {
            record.flags |= holder::STALE;
        }
    }
    if state_now == state::CLOSE && record.flags & holder::HALF == 0 && !was_connected(sk) {
        return None;
    }
    if let Some(origin) = ORIGIN.get_ptr(sk.address()) {
        // SAFETY: LRU entries are recycled, never unmapped; `peer` tells a recycled one.
        let origin = unsafe { &*origin };
        if origin.peer == peer {
            record.origin = *origin;
            record.flags |= holder::ORIGIN;
        } else {
            record.flags |= holder::STALE;
        }
    }
    // SAFETY: the record is initialised memory of this size, `seq` the iterator's output.
    unsafe {
        let seq = (*meta).seq;
        bpf_seq_write(seq.cast(), (&raw const record).cast(), size_of::<Holder>() as u32);
    }
    Some(())
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

const NO_ORIGIN: Origin = Origin {
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
