//! The only place that knows a processor: where user registers are in `struct pt_regs`.
//!
//! The kernel's architecture is that of the agent that loads this object, so the agent passes
//! the word indices as globals; one object serves them all.

use core::ptr::addr_of;

/// Indices, in 8-byte words, of the program counter, stack pointer and frame pointer in
/// `struct pt_regs` (x86-64: arch/x86/include/asm/ptrace.h; arm64: arch/arm64/include/asm/ptrace.h).
#[unsafe(no_mangle)]
static PT_REGS: [u32; 3] = [16, 19, 4];

/// Index of a system call's first argument, as it was when the call began.
#[unsafe(no_mangle)]
static FIRST_ARGUMENT: u32 = 14;

pub struct Registers {
    pub pc: u64,
    pub sp: u64,
    pub fp: u64,
}

/// User registers of the current task.
#[inline(always)]
pub fn user_registers(task: *const core::ffi::c_void) -> Registers {
    // SAFETY: the helper returns a pointer to the task's pt_regs that the verifier knows as such;
    // the indices are frozen globals, and it checks each load against the structure.
    unsafe {
        let regs = aya_ebpf::helpers::generated::bpf_task_pt_regs(task as *mut _) as *const u64;
        let index = |i: usize| core::ptr::read_volatile((addr_of!(PT_REGS) as *const u32).add(i)) as usize;
        Registers { pc: *regs.add(index(0)), sp: *regs.add(index(1)), fp: *regs.add(index(2)) }
    }
}

/// First argument of the system call that the current task is in.
#[inline(always)]
pub fn first_argument(task: *const core::ffi::c_void) -> u64 {
    // SAFETY: as in `user_registers`.
    unsafe {
        let regs = aya_ebpf::helpers::generated::bpf_task_pt_regs(task as *mut _) as *const u64;
        *regs.add(core::ptr::read_volatile(addr_of!(FIRST_ARGUMENT)) as usize)
    }
}
