//! User stacks on their way to the agent, and how to walk them.

use bytemuck::{Pod, Zeroable};

use crate::limits::{COPY_PAGES, PAGE, STACK_FRAMES};

/// How to find the caller of a leaf function: one step of its call-frame information (CFI),
/// learned once for each place that makes system calls. Offsets are in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct LeafRule {
    /// One of [`leaf`].
    pub status: u32,
    /// Copies sent while the status was [`leaf::UNKNOWN`].
    pub copies: u32,
    /// Where the return address is.
    pub return_address: i32,
    /// Where the caller's frame pointer was saved; [`leaf::UNCHANGED`] when it still is in its register.
    pub frame_pointer: i32,
}

/// Values of [`LeafRule::status`].
pub mod leaf {
    /// Nothing known yet: copies of the stack are sent.
    pub const UNKNOWN: u32 = 0;
    /// Both offsets count from the stack pointer.
    pub const FROM_STACK_POINTER: u32 = 1;
    /// Both offsets count from the frame pointer.
    pub const FROM_FRAME_POINTER: u32 = 2;
    /// There is no rule (JIT code, no unwind tables): walk frame pointers from the registers as they are.
    pub const NONE: u32 = 3;
    /// Functions above this leaf keep no frame pointers: copies of the stack are sent for good.
    pub const COPY: u32 = 4;
    /// The same, and those stacks are larger than an ordinary copy.
    pub const DEEP_COPY: u32 = 5;

    /// See [`super::LeafRule::frame_pointer`].
    pub const UNCHANGED: i32 = i32::MIN;
}

/// Key of `LEAVES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct LeafKey {
    /// [`StackHeader::image`].
    pub image: u64,
    /// Address of the code that makes system calls.
    pub pc: u64,
}

/// Key of `CLOSES`: the stacks that opened a socket and closed it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct ClosePair {
    /// Key of the stack that opened the socket.
    pub opened: u64,
    /// Key of the stack that closed it.
    pub closed: u64,
}

/// What every stack record starts with.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct StackHeader {
    /// One of [`record`].
    pub kind: u32,
    /// Process, as its PID in the initial PID namespace (`task_struct.tgid`).
    pub tgid: u32,
    /// Key under which maps refer to this stack.
    pub key: u64,
    /// Tells this program in this process from any other: folded from PID, start time and exec count.
    pub image: u64,
    /// Start of the process (leader's `start_boottime`, ns of CLOCK_BOOTTIME).
    pub started_at: u64,
    /// Instruction pointer of the program in the call.
    pub pc: u64,
    /// Its stack pointer.
    pub sp: u64,
    /// Its frame pointer, where it keeps one.
    pub fp: u64,
    /// Frames that are filled ([`record::FRAMES`]) or a bitmap of the pages that could be read ([`record::COPY`]).
    pub filled: u64,
    /// One of [`super::told`].
    pub python: u64,
}

/// Values of [`StackHeader::kind`].
pub mod record {
    /// A [`super::StackFrames`] follows.
    pub const FRAMES: u32 = 1;
    /// A [`super::StackCopy`] follows.
    pub const COPY: u32 = 2;
    /// A [`crate::facts::ProcessEnd`].
    pub const PROCESS_END: u32 = 3;
    /// A [`crate::facts::PythonStack`].
    pub const PYTHON: u32 = 4;
    /// A [`crate::facts::PythonCode`].
    pub const PYTHON_CODE: u32 = 5;
    /// A [`crate::facts::PythonStart`].
    pub const PYTHON_START: u32 = 6;
    /// A [`crate::facts::TlsSeen`].
    pub const TLS_SEEN: u32 = 7;
}

/// A stack walked in the kernel with a known leaf rule: program counters, innermost first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct StackFrames {
    /// Of which stack.
    pub header: StackHeader,
    /// Return addresses, innermost first.
    pub frames: [u64; STACK_FRAMES],
}

/// Registers and the top of the user stack, to unwind with tables.
///
/// Page `i` of the stack, counted from the page that holds `sp`, is `pages[i]`; so the byte at
/// `sp` is `pages[0][sp % PAGE]`. Pages that are not marked in [`StackHeader::filled`] hold anything.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StackCopy<const PAGES: usize> {
    /// Of which stack.
    pub header: StackHeader,
    /// Memory from the page of the stack pointer upwards.
    pub pages: [[u8; PAGE]; PAGES],
}

const _: () = {
    assert!(size_of::<LeafRule>() == 16);
    assert!(size_of::<StackHeader>() == 72);
    assert!(size_of::<StackFrames>() == 72 + 8 * STACK_FRAMES);
    assert!(size_of::<StackCopy<COPY_PAGES>>() == 72 + COPY_PAGES * PAGE);
};
