//! Descriptor tables and files that a census meets more than once.

use bytemuck::{Pod, Zeroable};

/// What [`CensusCounts::table`] says of a descriptor table.
pub mod table {
    /// This census meets it once.
    pub const OWN: u64 = 0;
    /// Several processes have it, or several threads whose first thread is gone.
    pub const COMMON: u64 = 1;
    /// Another thread of this process has shown it already.
    pub const SEEN: u64 = 2;
}

/// A descriptor table that is [`table::COMMON`]: who has shown it first, and in which census.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Table {
    /// Address of the task.
    pub task: u64,
    /// Process, as its PID in the initial PID namespace (`task_struct.tgid`).
    pub tgid: u32,
    /// Number of the census that met it.
    pub census: u32,
}

/// A file that several descriptors refer to, and the census that counted it last.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct SharedFile {
    /// Address of the `struct file`.
    pub file: u64,
    /// Number of the census.
    pub census: u32,
    /// Zero: no record holds bytes that nobody wrote.
    pub pad: u32,
}
