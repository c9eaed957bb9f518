//! What differs between processors: where registers are, and what system calls are called and numbered.
//! All are compiled everywhere, so that each is tested on recorded types wherever the tests run.

use tlsclose_common::layout::{ABSENT, SystemCalls};

use super::btf::{Btf, BtfError};

/// A register in `struct pt_regs`: a member, and which of its words.
type Register = (&'static str, u32);

pub struct Arch {
    /// What the functions that do system calls are called, before the call's own name.
    pub system_call_prefix: &'static str,
    /// dup2() is a system call; else dup3() does it.
    pub has_dup2: bool,
    /// Program counter, stack pointer and frame pointer.
    pointers: [Register; 3],
    /// A system call's first four arguments, where they stay until it returns.
    arguments: [Register; 4],
    /// Where the number of a system call is.
    number: &'static str,
    /// Numbers of system calls.
    numbers: SystemCalls,
}

/// Registers: arch/x86/include/asm/ptrace.h. Prefix: arch/x86/include/asm/syscall_wrapper.h. Numbers:
/// arch/x86/entry/syscalls/syscall_64.tbl; those of 32-bit programs are others, and none of theirs that
/// moves data through a socket has one of these.
pub const X86_64: Arch = Arch {
    system_call_prefix: "__x64_sys_",
    has_dup2: true,
    pointers: [("ip", 0), ("sp", 0), ("bp", 0)],
    arguments: [("di", 0), ("si", 0), ("dx", 0), ("r10", 0)],
    number: "orig_ax",
    numbers: SystemCalls {
        number_at: 0,
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
    },
};

/// Registers: arch/arm64/include/asm/ptrace.h; the frame pointer is x29, and the result of a call takes the
/// place of its first argument in x0 (arch/arm64/kernel/syscall.c). Prefix:
/// arch/arm64/include/asm/syscall_wrapper.h. Numbers: include/uapi/asm-generic/unistd.h, which has no epoll_wait and no dup2.
pub const AARCH64: Arch = Arch {
    system_call_prefix: "__arm64_sys_",
    has_dup2: false,
    pointers: [("pc", 0), ("sp", 0), ("regs", 29)],
    arguments: [("orig_x0", 0), ("regs", 1), ("regs", 2), ("regs", 3)],
    number: "syscallno",
    numbers: SystemCalls {
        number_at: 0,
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
    },
};

/// That of this program.
pub const HERE: Arch = if cfg!(target_arch = "aarch64") { AARCH64 } else { X86_64 };

impl Arch {
    /// Word indices in `struct pt_regs`: see [`super::layout::Resolved::pt_regs`].
    pub fn pointers(&self, btf: &Btf) -> Result<[u32; 3], BtfError> {
        words(btf, self.pointers)
    }

    /// The same of a system call's first four arguments.
    pub fn arguments(&self, btf: &Btf) -> Result<[u32; 4], BtfError> {
        words(btf, self.arguments)
    }

    pub fn system_calls(&self, btf: &Btf) -> Result<SystemCalls, BtfError> {
        Ok(SystemCalls { number_at: btf.offset("pt_regs", self.number)?, ..self.numbers })
    }
}

fn words<const N: usize>(btf: &Btf, registers: [Register; N]) -> Result<[u32; N], BtfError> {
    let mut words = [0; N];
    for (word, (member, index)) in words.iter_mut().zip(registers) {
        *word = btf.offset("pt_regs", member)? / 8 + index;
    }
    Ok(words)
}
