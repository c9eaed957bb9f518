//! Reads and sends on kernels before 6.3 that run no programs at the end of functions: at kprobes.
//! Those hand over a socket as a number, so this is only for the object that reads by address.
//!
//! A probe at the return of `tcp_recvmsg` would miss most readers that block: the kernel keeps room for
//! about as many calls at a time as there are processors (kernel/kprobes.c, `maxactive`). So a read is
//! seen just before it returns.

use core::ffi::c_void;

use aya_ebpf::{
    macros::{kprobe, kretprobe},
    programs::{ProbeContext, RetProbeContext},
};

use crate::{
    hooks::io,
    kernel::{
        Task, Tcp,
        arch::{SYSTEM_CALLS, SystemCall},
        current_thread, global,
    },
    maps::{SENDING, Values},
};

/// `void tcp_cleanup_rbuf(struct sock *sk, int copied)`, from 6.0 on `__tcp_cleanup_rbuf` alike:
/// `tcp_recvmsg` calls it before it returns `copied`. A read that waits for more comes by with what it has so far.
#[kprobe]
pub fn read_probe(ctx: ProbeContext) -> u32 {
    let _ = about_to_return(&ctx);
    0
}

#[inline(always)]
fn about_to_return(ctx: &ProbeContext) -> Option<()> {
    let copied: i32 = ctx.arg(1)?;
    if copied < 0 {
        return None;
    }
    let sk: *const c_void = ctx.arg(0)?;
    let tcp = Tcp::new(sk)?;
    // In interrupts and for kernel TLS, the current task reads something else, or nothing.
    if !tcp.owned() || tcp.sequences()?.has_kernel_tls() {
        return None;
    }
    io::received(sk, copied, flags());
    Some(())
}

/// Those of the current system call.
#[inline(always)]
fn flags() -> i32 {
    let call = SystemCall::of(Task::current().as_ptr());
    let number = call.number();
    let flags = if number == global!(SYSTEM_CALLS.recvmsg) {
        call.argument(2)
    } else if number == global!(SYSTEM_CALLS.recvfrom) || number == global!(SYSTEM_CALLS.recvmmsg) {
        call.argument(3)
    } else {
        0
    };
    flags as i32
}

/// `int tcp_sendmsg(struct sock *sk, struct msghdr *msg, size_t size)`, since 4.2: its begin.
#[kprobe]
pub fn send_probe(ctx: ProbeContext) -> u32 {
    if let Some(sk) = ctx.arg::<u64>(0) {
        // Without an entry, nothing is known of what this call sends.
        let _ = SENDING.insert(current_thread(), sk, 0);
    }
    0
}

/// The same, when it returns. Calls for which the kernel has no room are missed: few sends block.
#[kretprobe]
pub fn send_return(ctx: RetProbeContext) -> u32 {
    let thread = current_thread();
    let Some(&sk) = SENDING.value(thread) else { return 0 };
    // Fails only where it has been recycled meanwhile.
    let _ = SENDING.remove(thread);
    io::sent(sk as *const c_void, ctx.ret());
    0
}
