//! System calls by the functions that do them, where the host lets programs attach to functions: then
//! nobody pays but those who call them. A tracepoint at one system call slows all of them.
//!
//! `long __x64_sys_NAME(const struct pt_regs *regs)`, `__arm64_sys_NAME` alike
//! (arch/x86/include/asm/syscall_wrapper.h); the agent knows the prefix.

use aya_ebpf::{
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use tlsclose_common::facts::call;

use crate::{
    hooks::io_fexit::word,
    kernel::{Task, arch::SystemCall},
    sockets::{close_calls, openings},
};

#[fexit]
pub fn direct_accept(ctx: FExitContext) -> i32 {
    openings::accepted(word(&ctx, 1) as i64, call::ACCEPT);
    0
}

#[fexit]
pub fn direct_accept4(ctx: FExitContext) -> i32 {
    openings::accepted(word(&ctx, 1) as i64, call::ACCEPT4);
    0
}

#[fexit]
pub fn direct_socket(ctx: FExitContext) -> i32 {
    openings::made(word(&ctx, 1) as i64);
    0
}

#[fentry]
pub fn direct_close(_: FEntryContext) -> i32 {
    close_calls::close(argument(0));
    0
}

#[fentry]
pub fn direct_close_range(_: FEntryContext) -> i32 {
    close_calls::close_range(argument(0), argument(1), argument(2));
    0
}

#[fentry]
pub fn direct_dup2(_: FEntryContext) -> i32 {
    close_calls::replace(argument(0), argument(1));
    0
}

#[fentry]
pub fn direct_dup3(_: FEntryContext) -> i32 {
    close_calls::replace(argument(0), argument(1));
    0
}

#[inline(always)]
fn argument(i: usize) -> u32 {
    SystemCall::of(Task::current().as_ptr()).argument(i) as u32
}
