//! A process ends, or becomes another program: its budgets go, and the agent is told if it
//! knows the process, so that what it learned of the address space is not used for the next one.

use core::ffi::c_void;

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::debug;
use tlsclose_common::facts::{Lost, ProcessEnd, PythonStart, record};

use crate::{
    kernel::{Task, now_ns},
    maps::{ARMED, EMFILE, PROCESS_BUDGET, PYTHON, STACK_RING, Values, lost},
};

/// `sched_process_exit(struct task_struct *p)`, since 2.6; a `bool group_dead` follows from 6.16.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn process_exit(ctx: BtfTracePointContext) -> i32 {
    let task: *const c_void = ctx.arg(0);
    let task = Task::from_ptr(task);
    // The first thread may end before the others, and does when another one calls exec.
    if task.is_last() {
        ended(&ctx, task, 0);
    }
    0
}

/// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, since 3.4.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn process_exec(ctx: BtfTracePointContext) -> i32 {
    let task: *const c_void = ctx.arg(0);
    let task = Task::from_ptr(task);
    ended(&ctx, task, 1);
    if task.executes_python() {
        python_starts(task);
    }
    0
}

/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`, since 2.6.
///
/// A child has its parent's memory: what is known of one interpreter holds for the other.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn process_fork(ctx: BtfTracePointContext) -> i32 {
    let (parent, child): (*const c_void, *const c_void) = (ctx.arg(0), ctx.arg(1));
    let (parent, child) = (Task::from_ptr(parent), Task::from_ptr(child));
    if !child.is_leader() {
        return 0;
    }
    if let Some(&interpreter) = PYTHON.value(parent.image(parent.started_at())) {
        if PYTHON.insert(child.image(child.started_at()), interpreter, 0).is_err() {
            lost(Lost::ProcessesMapFull);
        }
    }
    0
}

/// Tells the agent, which has until the first line of Python runs to recognise the interpreter.
#[inline(always)]
fn python_starts(task: Task) {
    let started_at = task.started_at();
    let start =
        PythonStart { kind: record::PYTHON_START, tgid: task.tgid(), started_at, image: task.image(started_at) };
    if STACK_RING.output::<PythonStart>(&start, 0).is_err() {
        lost(Lost::EventsRingFull);
    }
}

#[inline(always)]
fn ended(ctx: &BtfTracePointContext, task: Task, exec: u32) {
    let tgid = task.tgid();
    let armed = ARMED.get_ptr(tgid).is_some();
    // Each fails only when there is nothing to remove.
    if exec == 0 {
        let _ = PROCESS_BUDGET.remove(tgid);
        let _ = EMFILE.remove(tgid);
        let _ = ARMED.remove(tgid);
    }
    if !armed {
        return;
    }
    debug!(ctx, "armed process {} ended (exec: {})", tgid, exec);
    let end = ProcessEnd { kind: record::PROCESS_END, tgid, started_at: task.started_at(), at: now_ns(), exec, pad: 0 };
    if STACK_RING.output::<ProcessEnd>(&end, 0).is_err() {
        lost(Lost::EventsRingFull);
    }
}
