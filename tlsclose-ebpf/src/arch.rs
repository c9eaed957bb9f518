//! The only place that knows a processor: where user registers are in `struct pt_regs`.
//!
//! The kernel's architecture is that of the agent that loads this object, so the agent passes
//! the word indices as globals; one object serves them all.

use core::{ffi::c_void, ptr::addr_of};

use crate::kernel::{access, global};

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
pub fn user_registers(task: *const c_void) -> Registers {
    let registers = access::pt_regs(task);
    let word = |i: usize| {
        // SAFETY: one of the three indices.
        let index = unsafe { core::ptr::read_volatile((addr_of!(PT_REGS) as *const u32).add(i)) };
        access::load(registers, index as usize * 8)
    };
    Registers { pc: word(0), sp: word(1), fp: word(2) }
}

/// First argument of the system call that the current task is in.
#[inline(always)]
pub fn first_argument(task: *const c_void) -> u64 {
    access::load(access::pt_regs(task), global!(FIRST_ARGUMENT) as usize * 8)
}
