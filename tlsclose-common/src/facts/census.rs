//! What a census counts.

use bytemuck::{Pod, Zeroable};

/// Counters of one census, kept per CPU and reset by the agent before each one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct CensusCounts {
    /// TCP sockets held by files, by state; a file that several descriptors share counts once.
    pub sockets: [u64; 16],
    /// Descriptors met, of any kind.
    pub fds: u64,
    /// Processes met.
    pub tasks: u64,
    /// `bpf_jiffies64()` and `bpf_ktime_get_ns()` when this CPU last looked at a file.
    pub jiffies: u64,
    /// See `jiffies`; ns of CLOCK_MONOTONIC.
    pub now: u64,
    /// Address of the task looked at last: a change counts a task.
    pub last_task: u64,
    /// The task last noted in `SOCKET_PROCESSES`.
    pub noted_task: u64,
    /// Half-closed sockets that no descriptor table shows, and those of them that were written out.
    pub unheld: u64,
    /// See `unheld`.
    pub unheld_shown: u64,
    /// Descriptors of shared sockets that may have been counted before: `SHARED_FILES` had no place for them.
    pub untold: u64,
    /// Address of the shared file looked at last.
    pub file: u64,
    /// Whose the descriptor table is that is being walked: one of [`table`].
    pub table: u64,
}

const _: () = assert!(size_of::<CensusCounts>() == 216);
