//! A process ends, or becomes another program: its budgets go, and the agent is told if it
//! knows the process, so that what it learned of the address space is not used for the next one.

use core::ffi::c_void;

use aya_ebpf::{helpers::generated::bpf_ktime_get_ns, macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::debug;
use tlsclose_common::facts::{Lost, ProcessEnd, record};

use crate::{
    kernel::Task,
    maps::{ARMED, EMFILE, PROCESS_BUDGET, STACK_RING, lost},
};

/// `sched_process_exit(struct task_struct *p)`, since 2.6; a `bool group_dead` follows from 6.16.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn process_exit(ctx: BtfTracePointContext) -> i32 {
    let task: *const c_void = ctx.arg(0);
    ended(&ctx, Task::from_ptr(task), 0);
    0
}

/// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, since 3.4.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn process_exec(ctx: BtfTracePointContext) -> i32 {
    let task: *const c_void = ctx.arg(0);
    ended(&ctx, Task::from_ptr(task), 1);
    0
}

#[inline(always)]
fn ended(ctx: &BtfTracePointContext, task: Task, exec: u32) {
    if !task.is_leader() {
        return;
    }
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
    let end = ProcessEnd {
        kind: record::PROCESS_END,
        tgid,
        started_at: task.started_at(),
        // SAFETY: a helper without arguments.
        at: unsafe { bpf_ktime_get_ns() },
        exec,
        pad: 0,
    };
    if STACK_RING.output::<ProcessEnd>(&end, 0).is_err() {
        lost(Lost::EventsRingFull);
    }
}
