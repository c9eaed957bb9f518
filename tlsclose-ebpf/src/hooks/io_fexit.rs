//! Reads and sends on kernels before 6.3, which lack `sock_recv_length` and `sock_send_length`:
//! the functions that these tracepoints are in, at their end.

use core::{ffi::c_void, hint::black_box};

use aya_ebpf::{EbpfContext, macros::fexit, programs::FExitContext};

use crate::{hooks::io, kernel::global};

/// Parameters of this kernel's `tcp_recvmsg`; the agent has them from BTF.
#[unsafe(no_mangle)]
static RECVMSG_PARAMETERS: u32 = 0;

/// `int tcp_recvmsg(struct sock *sk, struct msghdr *msg, size_t len, int nonblock, int flags, int *addr_len)`;
/// without `nonblock` from 5.19, without `addr_len` in later kernels. The result follows the last parameter.
#[fexit(function = "tcp_recvmsg")]
pub fn recvmsg_exit(ctx: FExitContext) -> i32 {
    // One load at a fixed offset for each prototype: the verifier takes no computed one.
    let (flags, ret) = match global!(RECVMSG_PARAMETERS) {
        6 => (word(&ctx, 4), word(&ctx, 6)),
        5 => (word(&ctx, 3), black_box(word(&ctx, 5))),
        4 => (word(&ctx, 3), black_box(black_box(word(&ctx, 4)))),
        _ => return 0,
    };
    io::received(word(&ctx, 0) as *const c_void, ret as i32, flags as i32);
    0
}

/// `int tcp_sendmsg(struct sock *sk, struct msghdr *msg, size_t size)`, since 4.2.
#[fexit(function = "tcp_sendmsg")]
pub fn sendmsg_exit(ctx: FExitContext) -> i32 {
    io::sent(word(&ctx, 0) as *const c_void, word(&ctx, 3) as i32);
    0
}

/// An argument of the function, or behind the last one its result.
#[inline(always)]
pub fn word(ctx: &FExitContext, index: usize) -> u64 {
    // SAFETY: the verifier checks that the function has that many parameters.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().cast::<u64>().add(index)) }
}
