//! Ends of processes.

use bytemuck::{Pod, Zeroable};

/// A process that has or had stacks with us ended, or runs another program now.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct ProcessEnd {
    /// [`record::PROCESS_END`].
    pub kind: u32,
    /// Process, as its PID in the initial PID namespace (`task_struct.tgid`).
    pub tgid: u32,
    /// Start of that process (leader's `start_boottime`, ns of CLOCK_BOOTTIME).
    pub started_at: u64,
    /// When it ended, in ns of CLOCK_MONOTONIC.
    pub at: u64,
    /// 0: it exited. 1: it called exec.
    pub exec: u32,
    /// Zero: no record holds bytes that nobody wrote.
    pub pad: u32,
}

const _: () = assert!(size_of::<ProcessEnd>() == 32);
