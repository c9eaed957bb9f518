//! Connections that end by a reset or an error, counted for the process that closes them.
//!
//! Those that the program's own call aborts are known when the RST is sent. Those that die while
//! a file holds them (the peer's RST, a timeout, `ss -K`) are marked in `HALF_CLOSED`, and counted
//! when the program closes them: until then nobody can be named.

use core::ffi::c_void;

use aya_ebpf::{bindings::BPF_NOEXIST, macros::btf_tracepoint, programs::BtfTracePointContext};
use tlsclose_common::facts::{AbortKey, AbortStackKey, Aborts, Comm, Lost, abort, state};

use crate::{
    kernel::{Hold, Task, Tcp, global, state_of},
    maps::{ABORT_STACKS, ABORTS, Values, lost, one_more},
    sockets::{half_closed, last_close},
    stacks::{budget, stack},
};

/// `sk_err` values (include/uapi/asm-generic/errno.h).
const EPIPE: u32 = 32;
const ECONNABORTED: u32 = 103;
const ECONNRESET: u32 = 104;
const ETIMEDOUT: u32 = 110;

/// `enum sk_rst_reason` (include/net/rstreason.h).
const TCP_ABORT_ON_DATA: u32 = 8;
const TCP_ABORT_ON_MEMORY: u32 = 13;

/// Set at load: 1 where the tracepoint says why (6.10).
#[unsafe(no_mangle)]
static RESET_REASONS: u32 = 0;

/// `tcp_send_reset(const struct sock *sk, const struct sk_buff *skb)`, since 4.16; an `enum
/// sk_rst_reason reason` follows from 6.10 on, and since then `sk` may be NULL, or the short
/// structure of a connection in TIME_WAIT or SYN_RECV.
#[btf_tracepoint(function = "tcp_send_reset")]
pub fn send_reset(ctx: BtfTracePointContext) -> i32 {
    let sk: *const c_void = ctx.arg(0);
    if !sk.is_null() {
        let reason = if global!(RESET_REASONS) != 0 { ctx.arg(2) } else { 0 };
        reset(sk, reason);
    }
    0
}

/// An RST was sent. Where a program aborts a connection itself, its state is CLOSE by then; where a
/// timer or `ss -K` does, not yet.
#[inline(always)]
fn reset(sk: *const c_void, reason: u32) {
    match state_of(sk) {
        // The rest of a socket that its program has closed.
        state::TIME_WAIT => count(abort::DATA_AFTER_CLOSE, false),
        state::CLOSE => {
            if let Some(sk) = Tcp::new(sk) {
                aborted(sk, reason);
            }
        }
        _ => {}
    }
}

#[inline(always)]
fn aborted(sk: Tcp, reason: u32) {
    let hold = sk.hold();
    if sk.error() != 0 {
        // Data for a side that was shut down: the kernel treats it as if an RST had come, and
        // answers with one.
        if hold == Hold::File {
            half_closed::aborted(sk, abort::DATA_AFTER_CLOSE);
        } else {
            count(abort::DATA_AFTER_CLOSE, false);
        }
        return;
    }
    match (hold, sk.owned()) {
        (Hold::Closing, true) => count(by_close(sk), true),
        (Hold::File, true) => count(abort::DISCONNECT, true),
        // `inet_csk_listen_stop`: nobody has accepted it, and the current task closes its listener.
        (Hold::NoSocket, false) if !sk.is_dead() => count(abort::LISTENER_CLOSED, true),
        (Hold::NoSocket, is_closing) => orphaned(sk, reason, is_closing),
        _ => {}
    }
}

/// Inside the last close() (net/ipv4/tcp.c, `__tcp_close`): unread data comes before SO_LINGER.
#[inline(always)]
fn by_close(sk: Tcp) -> u8 {
    if sk.unread() == 0 && sk.lingers() { abort::LINGER_ZERO } else { abort::UNREAD_DATA }
}

/// The socket has lost its file: still inside close(), or later, when something has arrived.
#[inline(always)]
fn orphaned(sk: Tcp, reason: u32, is_closing: bool) {
    let Some(sequences) = sk.sequences() else { return };
    if sequences.linger2() < 0 {
        count(abort::LINGER2, is_closing);
    } else if !is_closing || reason == TCP_ABORT_ON_DATA {
        count(abort::DATA_AFTER_CLOSE, false);
    } else if reason == TCP_ABORT_ON_MEMORY {
        count(abort::TOO_MANY_ORPHANS, true);
    }
}

/// Why a connection that a file holds is going to CLOSE now.
#[inline(always)]
pub fn cause(sk: Tcp) -> u8 {
    match sk.error() {
        // Not an abort: the end of TIME_WAIT's ancestor, or connect() to AF_UNSPEC.
        0 => abort::NONE,
        ECONNRESET | EPIPE => abort::PEER_RESET,
        ECONNABORTED => abort::DESTROYED,
        error => timeout(sk, error),
    }
}

/// A timer's error may be one that ICMP left behind. Keepalive probes are sent only while nothing
/// waits for its acknowledgement (net/ipv4/tcp_timer.c, `tcp_keepalive_timer`).
#[inline(always)]
fn timeout(sk: Tcp, error: u32) -> u8 {
    match sk.sequences() {
        Some(sequences) if sequences.write_seq() != sequences.snd_una() => abort::RETRANSMISSION_TIMEOUT,
        Some(_) if error == ETIMEDOUT => abort::KEEPALIVE_TIMEOUT,
        _ => abort::NONE,
    }
}

/// Counts one more for the current process, or for nobody.
#[inline(never)]
pub fn count(cause: u8, by_current: bool) {
    let task = Task::current();
    let tgid = stack::current_tgid();
    if !by_current || !last_close::is_by_program(task) {
        add(AbortKey { started_at: 0, tgid: 0, cause: cause as u32 });
        return;
    }
    let key = AbortKey { started_at: task.started_at(), tgid, cause: cause as u32 };
    add(key);
    // The kernel closes what a dying process leaves behind; that is nobody's code path.
    if !task.is_exiting() && budget::allows_close(tgid) {
        sample(key);
    }
}

/// Out of line: below [`count`] the stack's walk needs the room (512 bytes for all).
#[inline(never)]
fn add(key: AbortKey) {
    if let Some(aborts) = ABORTS.get_ptr_mut(key) {
        // SAFETY: this CPU's value of an entry that is freed after a grace period.
        unsafe { one_more(&raw mut (*aborts).count) };
        return;
    }
    let comm = if key.tgid != 0 { Task::current().comm() } else { Comm::default() };
    let first = Aborts { count: 1, comm };
    if ABORTS.insert(key, first, BPF_NOEXIST as u64).is_ok() {
        return;
    }
    // Another CPU was first, or the map is full.
    match ABORTS.get_ptr_mut(key) {
        // SAFETY: as above.
        Some(aborts) => unsafe { one_more(&raw mut (*aborts).count) },
        None => lost(Lost::AbortsFull),
    }
}

#[inline(always)]
fn sample(aborted: AbortKey) {
    let stack = stack::take(aborted.tgid);
    if stack == 0 {
        return;
    }
    let key = AbortStackKey { aborted, stack };
    if let Some(count) = ABORT_STACKS.value_mut(key) {
        *count += 1;
    } else if ABORT_STACKS.insert(key, 1, BPF_NOEXIST as u64).is_err() {
        lost(Lost::StacksBusy);
    }
}
