//! The only place that knows a processor: where user registers are in `struct pt_regs`.
//!
//! The kernel's architecture is that of the agent that loads this object, so the agent passes
//! the word indices as globals; one object serves them all.

use core::{ffi::c_void, ptr::addr_of};

use tlsclose_common::layout::SystemCalls;

use super::{access, globals::global};

/// Indices, in 8-byte words, of the program counter, stack pointer and frame pointer in
/// `struct pt_regs` (x86-64: arch/x86/include/asm/ptrace.h; arm64: arch/arm64/include/asm/ptrace.h).
#[unsafe(no_mangle)]
static PT_REGS: [u32; 3] = [16, 19, 4];

/// Indices of a system call's first four arguments, as they were when the call began.
#[unsafe(no_mangle)]
static ARGUMENTS: [u32; 4] = [14, 13, 12, 7];

/// See [`SystemCalls`].
#[unsafe(no_mangle)]
pub static SYSTEM_CALLS: SystemCalls = SystemCalls::UNRESOLVED;

pub struct Registers {
    pub pc: u64,
    pub sp: u64,
    pub fp: u64,
}

/// User registers of the current task.
#[inline(always)]
pub fn user_registers(task: *const c_void) -> Registers {
    let registers = access::pt_regs(task);
    let word = |i| access::load(registers, index(addr_of!(PT_REGS), i) * 8);
    Registers { pc: word(0), sp: word(1), fp: word(2) }
}

/// The system call that a task is in.
#[derive(Clone, Copy)]
pub struct SystemCall {
    registers: *const c_void,
}

impl SystemCall {
    #[inline(always)]
    pub fn of(task: *const c_void) -> Self {
        Self { registers: access::pt_regs(task) }
    }

    #[inline(always)]
    pub fn number(self) -> u32 {
        access::load(self.registers, global!(SYSTEM_CALLS.number_at) as usize)
    }

    /// An argument (0 to 3), as it was when the call began.
    #[inline(always)]
    pub fn argument(self, i: usize) -> u64 {
        access::load(self.registers, index(addr_of!(ARGUMENTS), i) * 8)
    }
}

#[inline(always)]
fn index<const N: usize>(indices: *const [u32; N], i: usize) -> usize {
    // SAFETY: one of them.
    unsafe { core::ptr::read_volatile(indices.cast::<u32>().add(i)) as usize }
}
