//! The exact map: since when a socket is half-closed, and what its program did about it.

use aya_ebpf::bindings::{BPF_EXIST, BPF_NOEXIST};
use tlsclose_common::{
    facts::{HalfClosed, Lost, abort, call, half, state},
    limits::{EOF_READS_OF_A_SPIN, HALF_CLOSED_BUCKETS_MS},
};

use crate::{
    kernel::{Tcp, now_ns},
    maps::{CAME, DURATIONS, HALF_CLOSED, Slots, WENT, half_closed_count, lost},
    sockets::spins,
    stacks::stack,
};

/// What the map has for the socket, or had for another one at its address.
#[inline(always)]
fn entry_of(sk: Tcp) -> Option<&'static mut HalfClosed> {
    // SAFETY: pre-allocated, so never unmapped; and the socket's own until it is closed, which its events come before.
    HALF_CLOSED.get_ptr_mut(sk.address()).map(|entry| unsafe { &mut *entry })
}

/// The socket entered `state` while something may still hold it.
#[inline(always)]
pub fn entered(sk: Tcp, state: u8, flags: u8, abort: u8) {
    let now = now_ns();
    let peer = sk.peer();
    let fresh = HalfClosed { since: now, peer, state, flags, abort, ..HalfClosed::NEW };
    // Nearly always the first entry of this socket: one operation instead of two.
    half_closed_count(CAME, 1);
    if HALF_CLOSED.insert(sk.address(), fresh, BPF_NOEXIST as u64).is_ok() {
        return;
    }
    half_closed_count(CAME, -1);
    let Some(entry) = entry_of(sk) else {
        lost(Lost::SocketsMapFull);
        return;
    };
    if entry.peer == peer {
        observe(entry, now);
        entry.since = now;
        entry.state = state;
        entry.flags = flags;
        entry.abort = abort;
    } else {
        lost(Lost::SocketsStale);
        *entry = fresh;
    }
}

/// The program shut down its sending side and keeps the socket: remember where.
#[inline(always)]
pub fn shut_down(sk: Tcp, state: u8) {
    let now = now_ns();
    let tgid = stack::current_tgid();
    let touched = stack::sample(tgid);
    let peer = sk.peer();
    let mut replaces = false;
    if let Some(entry) = entry_of(sk) {
        if entry.peer == peer {
            observe(entry, now);
            entry.since = now;
            entry.state = state;
            if touched != 0 {
                entry.touched = touched;
                entry.touched_call = call::SHUTDOWN;
            }
            entry.touched_at = now;
            entry.tgid = tgid;
            return;
        }
        lost(Lost::SocketsStale);
        replaces = true;
    }
    insert(
        sk,
        HalfClosed {
            since: now,
            touched,
            touched_at: now,
            peer,
            tgid,
            state,
            touched_call: call::SHUTDOWN,
            flags: half::WAS_CONNECTED,
            ..HalfClosed::NEW
        },
        replaces,
    );
}

/// A read returned 0 after the peer's FIN was consumed: the program has been told.
#[inline(always)]
pub fn end_of_file(sk: Tcp) {
    let now = now_ns();
    let peer = sk.peer();
    let mut replaces = false;
    if let Some(entry) = entry_of(sk) {
        if entry.peer == peer {
            entry.eof_reads = entry.eof_reads.wrapping_add(1);
            if entry.eof_at == 0 {
                entry.eof_at = now;
                entry.tgid = stack::current_tgid();
                let touched = stack::sample(entry.tgid);
                entry.touched = touched;
                entry.touched_at = now;
                entry.touched_call = call::READ;
            } else if entry.eof_reads & (EOF_READS_OF_A_SPIN - 1) == 0 {
                spins::read_again(sk.address(), peer, now);
            }
            return;
        }
        lost(Lost::SocketsStale);
        replaces = true;
    }
    // Half-closed before these programs were: since when is not known.
    let state = sk.state();
    if state != state::CLOSE_WAIT {
        return;
    }
    let tgid = stack::current_tgid();
    insert(
        sk,
        HalfClosed {
            eof_at: now,
            touched: stack::sample(tgid),
            touched_at: now,
            peer,
            eof_reads: 1,
            tgid,
            state,
            touched_call: call::READ,
            flags: half::WAS_CONNECTED,
            ..HalfClosed::NEW
        },
        replaces,
    );
}

/// The state that the map has for the socket.
#[inline(always)]
pub fn state_of(sk: Tcp) -> Option<u8> {
    let entry = entry_of(sk)?;
    sk.had_peer(entry.peer).then_some(entry.state)
}

/// What ended the connection is known better now.
#[inline(always)]
pub fn aborted(sk: Tcp, abort: u8) {
    if let Some(entry) = entry_of(sk) {
        if entry.peer == sk.peer() {
            entry.abort = abort;
        }
    }
}

/// The socket is being closed, or starts a new connection. Returns what had ended its connection:
/// one of [`tlsclose_common::facts::abort`].
#[inline(always)]
pub fn left(sk: Tcp) -> u8 {
    let Some(entry) = entry_of(sk) else { return abort::NONE };
    let is_its_own = sk.had_peer(entry.peer);
    let abort = entry.abort;
    if is_its_own {
        observe(entry, now_ns());
    } else {
        lost(Lost::SocketsStale);
    }
    half_closed_count(WENT, 1);
    // Fails only when somebody else removed it first.
    if HALF_CLOSED.remove(sk.address()).is_err() {
        half_closed_count(WENT, -1);
        return abort::NONE;
    }
    if is_its_own { abort } else { abort::NONE }
}

/// The connection ended in a state that this map follows; others cost no look-up.
#[inline(always)]
pub fn left_if_tracked(sk: Tcp, old: u8) {
    if matches!(old, state::CLOSE_WAIT | state::FIN_WAIT2 | state::FIN_WAIT1 | state::CLOSING) {
        left(sk);
    }
}

/// Stores an entry that is new, or `replaces` one of another socket at the same address.
#[inline(always)]
fn insert(sk: Tcp, entry: HalfClosed, replaces: bool) {
    let number = !replaces as i64;
    half_closed_count(CAME, number);
    let flags = if replaces { BPF_EXIST } else { BPF_NOEXIST };
    if HALF_CLOSED.insert(sk.address(), entry, flags as u64).is_err() {
        half_closed_count(CAME, -number);
        lost(Lost::SocketsMapFull);
    }
}

/// Counts how long the socket stayed in CLOSE_WAIT or FIN_WAIT_2.
#[inline(always)]
fn observe(entry: &HalfClosed, now: u64) {
    let slot = match entry.state {
        state::CLOSE_WAIT => 0,
        state::FIN_WAIT2 => 1,
        _ => return,
    };
    if entry.since == 0 {
        return;
    }
    let Some(durations) = DURATIONS.slot_mut(slot) else { return };
    let stayed = now.wrapping_sub(entry.since);
    let milliseconds = stayed / 1_000_000;
    let mut bucket = 0usize;
    while bucket < HALF_CLOSED_BUCKETS_MS.len() {
        if milliseconds < HALF_CLOSED_BUCKETS_MS[bucket] {
            break;
        }
        bucket += 1;
    }
    durations.sum += stayed;
    // SAFETY: `bucket` is at most 10 of 11.
    unsafe {
        *(&raw mut durations.buckets).cast::<u64>().add(bucket) += 1;
    }
}
