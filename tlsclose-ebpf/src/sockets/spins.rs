//! Threads that run in circles around a connection that is over: those that read a finished stream
//! again and again, and those that only ask for events, while the end of the stream stays unread.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tlsclose_common::facts::EofSpin;

use crate::{
    kernel::{
        Task,
        arch::{SYSTEM_CALLS, SystemCall},
        current_thread, global,
    },
    maps::{EOF_SPINS, SUSPECTS, Values},
    stacks::stack,
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
    if let Some(known) = EOF_SPINS.value(sk)
        && known.peer == peer
        && known.stack != 0
        && now.wrapping_sub(known.at) < ONCE_IN_NS
    {
        return;
    }
    let tgid = stack::current_tgid();
    let spin = EofSpin { at: now, stack: stack::sample(tgid), peer, tgid, tid: current_tid(), pad: 0 };
    // Lossy: the next of those reads tries again.
    let _ = EOF_SPINS.insert(sk, spin, 0);
}

/// `sys_exit(struct pt_regs *regs, long ret)`: the end of every system call. Attached only while the agent looks at
/// threads that burn a core.
#[btf_tracepoint(function = "sys_exit")]
pub fn exit_call(ctx: BtfTracePointContext) -> i32 {
    called(ctx.arg(1));
    0
}

#[inline(always)]
fn called(result: i64) {
    let Some(suspect) = SUSPECTS.get_ptr_mut(current_tid()) else { return };
    // SAFETY: pre-allocated entries are recycled, never unmapped.
    let suspect = unsafe { &mut *suspect };
    let call = SystemCall::of(Task::current().as_ptr());
    let number = call.number();
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
        suspect.others += 1;
    } else if is_work(number) {
        let only_wakes = number == global!(SYSTEM_CALLS.write) && result == EVENTFD;
        suspect.others += !only_wakes as u64;
    }
}

/// The call is one of those that an event loop makes when it has been told of something, or waits.
#[inline(always)]
fn is_work(number: u32) -> bool {
    [
        global!(SYSTEM_CALLS.read),
        global!(SYSTEM_CALLS.readv),
        global!(SYSTEM_CALLS.recvfrom),
        global!(SYSTEM_CALLS.recvmsg),
        global!(SYSTEM_CALLS.recvmmsg),
        global!(SYSTEM_CALLS.write),
        global!(SYSTEM_CALLS.writev),
        global!(SYSTEM_CALLS.sendto),
        global!(SYSTEM_CALLS.sendmsg),
        global!(SYSTEM_CALLS.accept),
        global!(SYSTEM_CALLS.accept4),
        global!(SYSTEM_CALLS.io_uring_enter),
        global!(SYSTEM_CALLS.clock_nanosleep),
    ]
    .contains(&number)
}

#[inline(always)]
fn current_tid() -> u32 {
    current_thread() as u32
}
