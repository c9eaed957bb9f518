//! What the programs must know about the running kernel, from its BTF.

use tlsclose_common::layout::{
    ABSENT, FileRef, Layout, SystemCalls, TASK_IO_URING, TASK_THREAD_POINTER, TCP_PROBES_OUT, TCP_RETRANSMITS,
};

use super::{
    arch::{self, Arch},
    btf::{Btf, BtfError},
};

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
    resolve_for(&arch::HERE, btf)
}

fn resolve_for(arch: &Arch, btf: &Btf) -> Result<Resolved, BtfError> {
    Ok(Resolved {
        layout: Layout::resolve(|structure, path| btf.offset(structure, path))?,
        file_ref: file_ref(btf)?,
        task_io_uring: btf.offset(TASK_IO_URING.0, TASK_IO_URING.1).unwrap_or(ABSENT),
        task_thread_pointer: btf.offset(TASK_THREAD_POINTER.0, TASK_THREAD_POINTER.1).unwrap_or(ABSENT),
        pt_regs: arch.pointers(btf)?,
        recvmsg_parameters: btf.parameters("tcp_recvmsg").unwrap_or(0),
        arguments: arch.arguments(btf)?,
        task_stack: btf.offset("task_struct", "stack")?,
        stack_registers: KERNEL_STACK - btf.size("pt_regs")?,
        tcp_retransmits: btf.offset(TCP_RETRANSMITS.0, TCP_RETRANSMITS.1).unwrap_or(ABSENT),
        tcp_probes_out: btf.offset(TCP_PROBES_OUT.0, TCP_PROBES_OUT.1).unwrap_or(ABSENT),
        // Before the tracepoint's own arguments comes what it was registered with.
        reset_reasons: u32::from(btf.parameters("__bpf_trace_tcp_send_reset") == Some(4)),
        system_calls: arch.system_calls(btf)?,
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

#[cfg(test)]
mod tests;
