//! Threads that run in circles around a connection that is over: those that read a finished stream
//! again and again, and those that only ask for events, while the end of the stream stays unread.

use aya_ebpf::{
    EbpfContext, helpers::generated::bpf_get_current_pid_tgid, macros::tracepoint, programs::TracePointContext,
};
use tlsclose_common::facts::EofSpin;

use crate::{
    arch::{SYSTEM_CALLS, SystemCall},
    kernel::{Task, global},
    maps::{EOF_SPINS, SUSPECTS},
    stack,
};

/// Who spins on a socket is looked at once in this time.
const ONCE_IN_NS: u64 = 1_000_000_000;

/// Polls after which the stack is taken, and tried again as long as there is none.
const POLLS_A_STACK: u64 = 32;

/// Bytes of an eventfd's counter.
const EVENTFD: i64 = 8;

/// The current thread has read the end of a stream once more, for one of many times.
#[inline(always)]
pub fn read_again(sk: u64, peer: u32, now: u64) {
    if let Some(known) = EOF_SPINS.get_ptr(sk) {
        // SAFETY: LRU entries are recycled, never unmapped; `peer` tells a recycled one.
        let known = unsafe { &*known };
        if known.peer == peer && known.stack != 0 && now.wrapping_sub(known.at) < ONCE_IN_NS {
            return;
        }
    }
    let tgid = stack::current_tgid();
    let spin = EofSpin { at: now, stack: stack::sample(tgid), peer, tgid, tid: current_tid(), pad: 0 };
    // Lossy: the next of those reads tries again.
    let _ = EOF_SPINS.insert(sk, spin, 0);
}

/// `syscalls/sys_exit_…`: `int nr` at offset 8, `long ret` at 16. Attached only while the agent looks
/// at threads that burn a core, and then to the calls that tell an event loop at work from one that
/// spins.
#[tracepoint(category = "syscalls", name = "sys_exit_epoll_wait")]
pub fn exit_call(ctx: TracePointContext) -> i32 {
    // SAFETY: the tracepoint's record holds number and result at these offsets (its `format` file).
    let (number, result) = unsafe {
        let record = ctx.as_ptr();
        (*record.byte_add(8).cast::<u32>(), *record.byte_add(16).cast::<i64>())
    };
    called(number, result);
    0
}

#[inline(always)]
fn called(number: u32, result: i64) {
    let Some(suspect) = SUSPECTS.get_ptr_mut(current_tid()) else { return };
    // SAFETY: pre-allocated entries are recycled, never unmapped.
    let suspect = unsafe { &mut *suspect };
    let call = SystemCall::of(Task::current().as_ptr());
    if number == global!(SYSTEM_CALLS.epoll_wait) || number == global!(SYSTEM_CALLS.epoll_pwait) {
        let asked_only = call.argument(3) as i32 == 0;
        if result > 0 || (result == 0 && asked_only) {
            suspect.polls += 1;
            suspect.epoll = call.argument(0) as u32;
            if suspect.stack == 0 && suspect.polls % POLLS_A_STACK == 0 {
                suspect.stack = stack::sample(stack::current_tgid());
            }
            return;
        }
    }
    let only_wakes = number == global!(SYSTEM_CALLS.write) && result == EVENTFD;
    if !only_wakes {
        suspect.others += 1;
    }
}

#[inline(always)]
fn current_tid() -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_current_pid_tgid() as u32 }
}
