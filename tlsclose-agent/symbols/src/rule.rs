//! The way from a frame to its caller, in three numbers.

use serde::{Deserialize, Serialize};
use tlsclose_common::facts::{LeafRule, leaf};

/// Frames larger than this are taken for garbage, in bytes.
pub const FRAME_MAX: i64 = 1 << 20;

/// Frame pointers are all there is to go by.
pub const NO_TABLES: LeafRule =
    LeafRule { status: leaf::NONE, copies: 0, return_address: 0, frame_pointer: leaf::UNCHANGED };

/// How to get from a frame to its caller, by the tables of its module or its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// By an addition to the stack pointer or the frame pointer.
    By(LeafRule),
    /// There is nothing else: go by the frame pointer, which such code (Go, JIT compilers) keeps.
    FramePointer,
    /// There is none: the program or a thread starts here.
    Root,
    /// No call ends here, so that this is no return address: it was met by chance.
    Stray,
    /// The tables ask for more than an addition (a signal frame, a realigned stack), or cannot be read.
    Unknown,
}

impl Caller {
    /// What the kernel side is told of a leaf.
    pub fn leaf_rule(self) -> LeafRule {
        match self {
            Self::By(rule) => rule,
            _ => NO_TABLES,
        }
    }

    /// The caller is where the stack pointer says: the frame pointer may hold anything.
    pub fn is_by_stack_pointer(self) -> bool {
        matches!(self, Self::By(rule) if rule.status == leaf::FROM_STACK_POINTER)
    }
}

/// A [`Caller`] on its way: the helper may lie, so its reader must check the numbers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Rule {
    /// As [`LeafRule`] has them.
    By {
        /// The register that is counted from: [`leaf::FROM_STACK_POINTER`] or [`leaf::FROM_FRAME_POINTER`].
        status: u32,
        /// Where the return address is, in bytes from that register.
        return_address: i32,
        /// Where the caller's frame pointer is kept, in bytes from that register, or [`leaf::UNCHANGED`].
        frame_pointer: i32,
    },
    /// [`Caller::FramePointer`].
    FramePointer,
    /// [`Caller::Root`].
    Root,
    /// [`Caller::Stray`].
    Stray,
    /// [`Caller::Unknown`].
    Unknown,
}

impl From<Caller> for Rule {
    fn from(caller: Caller) -> Self {
        match caller {
            Caller::By(LeafRule { status, return_address, frame_pointer, .. }) => {
                Self::By { status, return_address, frame_pointer }
            }
            Caller::FramePointer => Self::FramePointer,
            Caller::Root => Self::Root,
            Caller::Stray => Self::Stray,
            Caller::Unknown => Self::Unknown,
        }
    }
}
