//! Ends of processes.

use bytemuck::{Pod, Zeroable};

/// A process that has or had stacks with us ended, or runs another program now.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct ProcessEnd {
    /// [`record::PROCESS_END`].
    pub kind: u32,
    pub tgid: u32,
    pub started_at: u64,
    pub at: u64,
    /// 0: it exited. 1: it called exec.
    pub exec: u32,
    pub pad: u32,
}

const _: () = assert!(size_of::<ProcessEnd>() == 32);
