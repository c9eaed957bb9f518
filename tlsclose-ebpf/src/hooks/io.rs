//! Reads and sends: the end of file, the last touch by armed processes, and the adoption of
//! sockets that no accept hook saw. A healthy connection pays a handful of early returns.

use core::ffi::c_void;

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tlsclose_common::{facts::call, limits::TLS_PROBATION_BYTES};

use crate::{
    kernel::{RCV_SHUTDOWN, Sequences, Task, Tcp, now_ns},
    maps::{CONTROL, IO_URING_MET, ORIGIN, Slots, Values},
    sockets::{half_closed, openings},
    stacks::{budget, stack},
    tls::{self, follow},
};

const MSG_PEEK: i32 = 2;
const MSG_TRUNC: i32 = 0x20;
const MSG_ERRQUEUE: i32 = 0x2000;

/// `sock_recv_length(struct sock *sk, int ret, int flags)`, since 6.3.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn recv_length(ctx: BtfTracePointContext) -> i32 {
    received(ctx.arg(0), ctx.arg(1), ctx.arg(2));
    0
}

/// A read returned `ret`.
#[inline(always)]
pub fn received(sk: *const c_void, ret: i32, flags: i32) {
    if ret < 0 || flags & MSG_PEEK != 0 {
        return;
    }
    let Some(sk) = Tcp::new(sk) else { return };
    if ret > 0 {
        moved(sk, ret as u32, call::READ, flags);
    } else {
        read_nothing(sk);
    }
}

/// `sock_send_length(struct sock *sk, int ret, int flags)`, since 6.3; `flags` is always 0. The agent
/// attaches it while a process is armed or uses io_uring, or there is TLS.
#[btf_tracepoint(function = "sock_send_length")]
pub fn send_length(ctx: BtfTracePointContext) -> i32 {
    sent(ctx.arg(0), ctx.arg(1));
    0
}

/// A send returned `ret`.
#[inline(always)]
pub fn sent(sk: *const c_void, ret: i32) {
    let Some(sk) = Tcp::new(sk) else { return };
    if ret > 0 {
        moved(sk, ret as u32, call::SEND, 0);
    } else if ret < 0 {
        tls::failed_to_send(sk);
    }
}

/// A read returned 0. It is the end of file only when the peer's FIN has been consumed: a read
/// of zero bytes returns 0 as well.
#[inline(always)]
fn read_nothing(sk: Tcp) {
    if sk.shutdown() & RCV_SHUTDOWN == 0 {
        return;
    }
    let Some(sequences) = sk.sequences() else { return };
    if sequences.copied_seq() == sequences.rcv_nxt() {
        ended(sk);
    }
}

#[inline(never)]
fn ended(sk: Tcp) {
    half_closed::end_of_file(sk);
}

/// Data moved. What only some calls need is out of line: most of them are through with a few lines of cache.
#[inline(always)]
fn moved(sk: Tcp, bytes: u32, which: u8, flags: i32) {
    let Some(control) = CONTROL.get(0) else { return };
    if control.any_armed != 0 {
        armed(sk, bytes, which);
    }
    if flags & MSG_ERRQUEUE != 0 {
        return;
    }
    // Bytes that are thrown away are in no buffer.
    let in_memory = flags & MSG_TRUNC == 0;
    let mut connection = tls::known(sk);
    let Some(sequences) = sk.sequences() else { return };
    if connection.is_none() {
        let before = moved_before(sequences, bytes, which);
        let fin = (sk.shutdown() & RCV_SHUTDOWN != 0) as u64;
        if before >= TLS_PROBATION_BYTES || !young(sk, bytes, which, before <= fin, in_memory) {
            return;
        }
        connection = tls::known(sk);
    }
    if let Some(connection) = connection {
        follow::follow(sk, sequences, connection, bytes, which, in_memory);
    }
}

/// Bytes that went the same way before this call, and one more if the call took the peer's FIN along (`tcp_rcv_nxt_update`
/// counts it as received).
#[inline(always)]
fn moved_before(sequences: Sequences, bytes: u32, which: u8) -> u64 {
    let so_far = if which == call::READ { sequences.read_bytes() } else { sequences.written_bytes() };
    so_far.saturating_sub(bytes as u64)
}

/// A socket is used on which little has moved so far. True if it turns out to be one with TLS.
#[inline(never)]
fn young(sk: Tcp, bytes: u32, which: u8, is_first: bool, in_memory: bool) -> bool {
    if Task::current().uses_io_uring() {
        met_io_uring();
        if is_first {
            openings::adopt(sk, which);
        }
    }
    in_memory && tls::begins(sk, bytes, which)
}

/// Asks the agent for the hook at sends, which is attached only while it is needed.
#[inline(always)]
fn met_io_uring() {
    let (Some(control), Some(met)) = (CONTROL.get(0), IO_URING_MET.slot_mut(0)) else { return };
    // Written once in each census, by whoever comes first.
    if *met != control.census {
        *met = control.census;
    }
}

/// Remembers where an armed process last used a socket whose opening is known.
#[inline(never)]
fn armed(sk: Tcp, bytes: u32, which: u8) {
    if !budget::is_armed(stack::current_tgid()) {
        return;
    }
    let Some(origin) = ORIGIN.value_mut(sk.address()) else { return };
    let stack = stack::sample(stack::current_tgid());
    if stack == 0 {
        return;
    }
    origin.touched = stack;
    origin.touched_at = now_ns();
    origin.touched_call = which;
    origin.touched_result = bytes as i32;
}
