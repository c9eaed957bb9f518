//! Where programs close their sockets: for those whose opening was sampled, the pair of both
//! stacks is counted, so that a leak can be shown beside the close that its siblings got.

use aya_ebpf::bindings::BPF_NOEXIST;
use tlsclose_common::facts::{ClosePair, Lost};

use crate::{
    kernel::{
        Task, Tcp,
        arch::{SYSTEM_CALLS, SystemCall},
        global,
    },
    maps::{CLOSES, Values, lost},
    sockets::origin,
    stacks::{budget, stack},
};

/// The current task, inside the last close() of a socket, is the program that closes it.
///
/// It is not where the kernel works by itself, nor in a read(): a census (this agent's, another's, any `iter/task_file`)
/// held the file when the program closed it. A thread whose socket another one closes may come out of read() likewise,
/// which is not where the program closes, either.
#[inline(always)]
pub fn is_by_program(task: Task) -> bool {
    let is_reading = || SystemCall::of(task.as_ptr()).number() == global!(SYSTEM_CALLS.read);
    // A process that is killed in a read() closes what it has.
    !task.without_user_stack() && (task.is_exiting() || !is_reading())
}

/// The current task is inside the last close() of the socket.
#[inline(always)]
pub fn closing(sk: Tcp) {
    if let Some(origin) = origin::origin(sk)
        && origin.opened != 0
    {
        closed(origin.opened);
    }
}

/// Out of line: nearly all sockets have no sampled opening.
#[inline(never)]
fn closed(opened: u64) {
    let task = Task::current();
    // The kernel closes what a dying process leaves behind; that is nobody's code path.
    if task.is_exiting() || !is_by_program(task) {
        return;
    }
    let tgid = stack::current_tgid();
    if !budget::allows_close(tgid) {
        return;
    }
    let closed = stack::take(tgid);
    if closed == 0 {
        return;
    }
    let pair = ClosePair { opened, closed };
    if let Some(count) = CLOSES.value_mut(pair) {
        *count += 1;
    } else if CLOSES.insert(pair, 1, BPF_NOEXIST as u64).is_err() {
        lost(Lost::StacksBusy);
    }
}
