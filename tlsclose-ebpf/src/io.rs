//! Reads and sends: the end of file, the last touch by armed processes, and the adoption of
//! sockets that no accept hook saw. A healthy connection pays a handful of early returns.

use core::ffi::c_void;

use aya_ebpf::{helpers::generated::bpf_ktime_get_ns, macros::btf_tracepoint, programs::BtfTracePointContext};
use tlsclose_common::facts::call;

use crate::{
    budget, half_closed,
    kernel::{Task, Tcp},
    maps::{CONTROL, IO_URING_MET, ORIGIN},
    open, stack, tls,
};

const MSG_PEEK: i32 = 2;
const RCV_SHUTDOWN: u8 = 1;

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
        moved(sk, ret, call::READ);
        tls::read(sk, ret, flags);
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
        moved(sk, ret, call::SEND);
        tls::sent(sk, ret);
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
        half_closed::end_of_file(sk);
    }
}

/// Data moved.
#[inline(always)]
fn moved(sk: Tcp, bytes: i32, which: u8) {
    let Some(control) = CONTROL.get(0) else { return };
    let is_armed = control.any_armed != 0 && budget::is_armed(stack::current_tgid());
    let may_be_unseen = Task::current().uses_io_uring();
    if is_armed {
        touched(sk, bytes, which);
    }
    if may_be_unseen {
        met_io_uring(control.census);
    }
    if may_be_unseen && is_first(sk, bytes, which) {
        open::adopt(sk, which);
    }
}

/// Asks the agent for the hook at sends, which is attached only while it is needed.
#[inline(always)]
fn met_io_uring(census: u32) {
    if let Some(met) = IO_URING_MET.get_ptr_mut(0) {
        // SAFETY: a slot that lives as long as the program; written once in each census, by whoever comes first.
        unsafe {
            if *met != census {
                *met = census;
            }
        }
    }
}

#[inline(always)]
fn is_first(sk: Tcp, bytes: i32, which: u8) -> bool {
    let Some(sequences) = sk.sequences() else { return false };
    let so_far = if which == call::READ { sequences.read_bytes() } else { sequences.written_bytes() };
    so_far == bytes as u64
}

/// Remembers where an armed process last used a socket whose opening is known.
#[inline(always)]
fn touched(sk: Tcp, bytes: i32, which: u8) {
    let Some(origin) = ORIGIN.get_ptr_mut(sk.address()) else { return };
    let stack = stack::sample(stack::current_tgid());
    if stack == 0 {
        return;
    }
    // SAFETY: LRU entries are recycled, never unmapped; `peer` tells the reader of a recycled one.
    unsafe {
        (*origin).touched = stack;
        (*origin).touched_at = bpf_ktime_get_ns();
        (*origin).touched_call = which;
        (*origin).touched_result = bytes;
    }
}
