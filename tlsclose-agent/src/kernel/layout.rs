//! What the programs must know about the running kernel, from its BTF.

use tlsclose_common::layout::{
    ABSENT, FileRef, Layout, SystemCalls, TASK_IO_URING, TASK_THREAD_POINTER, TCP_PROBES_OUT, TCP_RETRANSMITS,
};

use super::btf::{Btf, BtfError};

/// Everything that the programs get as read-only globals about the kernel they run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub layout: Layout,
    pub file_ref: FileRef,
    pub task_io_uring: u32,
    pub task_thread_pointer: u32,
    /// Word indices of program counter, stack pointer and frame pointer in `struct pt_regs`.
    pub pt_regs: [u32; 3],
    /// 0 where there is no `tcp_recvmsg`.
    pub recvmsg_parameters: u32,
    /// Word indices in `struct pt_regs` of a system call's first four arguments, which stay there.
    pub arguments: [u32; 4],
    pub task_stack: u32,
    /// Where `struct pt_regs` lies in a task's kernel stack.
    pub stack_registers: u32,
    pub tcp_retransmits: u32,
    pub tcp_probes_out: u32,
    /// 1: `tcp_send_reset` says why (6.10).
    pub reset_reasons: u32,
    pub system_calls: SystemCalls,
}

/// Bytes of a task's kernel stack (`THREAD_SIZE`: arch/x86/include/asm/page_64_types.h without KASAN;
/// arch/arm64/include/asm/memory.h with pages of 4 KiB). The registers lie at its end.
const KERNEL_STACK: u32 = 16_384;

/// Resolves every offset, or names the first one that this kernel does not have.
pub fn resolve(btf: &Btf) -> Result<Resolved, BtfError> {
    Ok(Resolved {
        layout: Layout::resolve(|structure, path| btf.offset(structure, path))?,
        file_ref: file_ref(btf)?,
        task_io_uring: btf.offset(TASK_IO_URING.0, TASK_IO_URING.1).unwrap_or(ABSENT),
        task_thread_pointer: btf.offset(TASK_THREAD_POINTER.0, TASK_THREAD_POINTER.1).unwrap_or(ABSENT),
        pt_regs: pt_regs(btf)?,
        recvmsg_parameters: btf.parameters("tcp_recvmsg").unwrap_or(0),
        arguments: arguments(btf)?,
        task_stack: btf.offset("task_struct", "stack")?,
        stack_registers: KERNEL_STACK - btf.size("pt_regs")?,
        tcp_retransmits: btf.offset(TCP_RETRANSMITS.0, TCP_RETRANSMITS.1).unwrap_or(ABSENT),
        tcp_probes_out: btf.offset(TCP_PROBES_OUT.0, TCP_PROBES_OUT.1).unwrap_or(ABSENT),
        // Before the tracepoint's own arguments comes what it was registered with.
        reset_reasons: u32::from(btf.parameters("__bpf_trace_tcp_send_reset") == Some(4)),
        system_calls: system_calls(btf)?,
    })
}

/// `f_ref` came with 6.13 (include/linux/file_ref.h); `f_count` went with it.
fn file_ref(btf: &Btf) -> Result<FileRef, BtfError> {
    if btf.has_field("file", "f_ref") {
        Ok(FileRef { offset: btf.offset("file", "f_ref.refcnt")?, biased: 1 })
    } else {
        Ok(FileRef { offset: btf.offset("file", "f_count")?, biased: 0 })
    }
}

#[cfg(target_arch = "x86_64")]
fn pt_regs(btf: &Btf) -> Result<[u32; 3], BtfError> {
    let word = |name| Ok(btf.offset("pt_regs", name)? / 8);
    Ok([word("ip")?, word("sp")?, word("bp")?])
}

#[cfg(target_arch = "x86_64")]
fn arguments(btf: &Btf) -> Result<[u32; 4], BtfError> {
    let word = |name| Ok(btf.offset("pt_regs", name)? / 8);
    Ok([word("di")?, word("si")?, word("dx")?, word("r10")?])
}

/// The result takes the place of the first argument in x0 (arch/arm64/kernel/syscall.c).
#[cfg(target_arch = "aarch64")]
fn arguments(btf: &Btf) -> Result<[u32; 4], BtfError> {
    let word = |name| Ok(btf.offset("pt_regs", name)? / 8);
    let first: u32 = word("regs")?;
    Ok([word("orig_x0")?, first + 1, first + 2, first + 3])
}

/// Numbers from arch/x86/entry/syscalls/syscall_64.tbl. Those of 32-bit programs are others, and none
/// of theirs that moves data through a socket has one of these numbers.
#[cfg(target_arch = "x86_64")]
fn system_calls(btf: &Btf) -> Result<SystemCalls, BtfError> {
    Ok(SystemCalls {
        number_at: btf.offset("pt_regs", "orig_ax")?,
        read: 0,
        recvfrom: 45,
        readv: 19,
        recvmsg: 47,
        write: 1,
        sendto: 44,
        writev: 20,
        sendmsg: 46,
        sendmmsg: 307,
        epoll_wait: 232,
        epoll_pwait: 281,
        recvmmsg: 299,
        accept: 43,
        accept4: 288,
        io_uring_enter: 426,
        clock_nanosleep: 230,
    })
}

/// Numbers from include/uapi/asm-generic/unistd.h, which has no epoll_wait.
#[cfg(target_arch = "aarch64")]
fn system_calls(btf: &Btf) -> Result<SystemCalls, BtfError> {
    Ok(SystemCalls {
        number_at: btf.offset("pt_regs", "syscallno")?,
        read: 63,
        recvfrom: 207,
        readv: 65,
        recvmsg: 212,
        write: 64,
        sendto: 206,
        writev: 66,
        sendmsg: 211,
        sendmmsg: 269,
        epoll_wait: ABSENT,
        epoll_pwait: 22,
        recvmmsg: 243,
        accept: 202,
        accept4: 242,
        io_uring_enter: 426,
        clock_nanosleep: 115,
    })
}

/// The frame pointer is x29 (arch/arm64/include/asm/ptrace.h).
#[cfg(target_arch = "aarch64")]
fn pt_regs(btf: &Btf) -> Result<[u32; 3], BtfError> {
    let word = |name| Ok(btf.offset("pt_regs", name)? / 8);
    Ok([word("pc")?, word("sp")?, word("regs")? + 29])
}

#[cfg(test)]
mod tests;
