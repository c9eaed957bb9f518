//! What the agent sets, what the kernel side may spend, and what did not fit.

use bytemuck::{Contiguous, Pod, Zeroable};

/// Settings that the agent may change while the programs run (`CONTROL`, one entry).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Control {
    /// Some process is armed: look in `ARMED` at every read and send.
    pub any_armed: u32,
    /// Stacks per second and CPU.
    pub stacks_per_second: u32,
    /// The agent's own process: never sampled.
    pub agent_tgid: u32,
    /// Number of this census, for counting shared files once.
    pub census: u32,
    /// Copies of stack memory per second and CPU.
    pub copies_per_second: u32,
    /// 1: a census sees every process of the host, so that what it does not show is held otherwise.
    pub sees_all: u32,
    /// When this census began.
    pub census_began: u64,
    /// How many entries the exact map had after that; all bits set: not known.
    pub half_closed: u64,
    /// Jiffies after which the census shows established connections without keepalive; 0: never.
    pub idle_after: u32,
    /// Jiffies in a second; 0: not known yet.
    pub ticks_per_second: u32,
}

/// Use of a budget in one window. Kept per CPU, and per process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Budget {
    /// When it began, in ns of CLOCK_MONOTONIC.
    pub window: u64,
    /// What was taken since.
    pub used: u32,
    /// Of a process's own share: copies of stack memory. They are counted apart.
    pub copies: u32,
}

/// Who was refused a stack last, and in which tick. Kept per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Refusal {
    /// In jiffies.
    pub tick: u64,
    /// Whom; see [`super::Holder::tgid`].
    pub tgid: u32,
    /// Zero: no record holds bytes that nobody wrote.
    pub pad: u32,
}

/// What could not be kept, by reason.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Contiguous)]
pub enum Lost {
    /// `HALF_CLOSED` was full.
    SocketsMapFull = 0,
    /// `ORIGIN` refused an entry.
    OriginsMapFull = 1,
    /// The stack budget of this window was used up.
    StacksBudget = 2,
    /// The ring buffer for stacks was full.
    StacksRingFull = 3,
    /// A stack was being taken on this CPU already.
    StacksBusy = 4,
    /// The agent has not yet said how to unwind this leaf.
    StacksLeafUnknown = 5,
    /// The stream's ring buffer was full.
    EventsRingFull = 6,
    /// An entry of another socket at the same address was dropped.
    SocketsStale = 7,
    /// A map of per-process state refused an entry.
    ProcessesMapFull = 8,
    /// The budget for copies of stack memory was used up.
    CopiesBudget = 9,
    /// A CPython process has more threads than are looked through.
    PythonThreads = 10,
    /// A code object could not be copied.
    PythonUnreadable = 11,
    /// `TLS_SOCKETS` was full: a connection is not followed.
    TlsSocketsFull = 12,
    /// `TLS_CLOSES` was full: a close is not counted.
    TlsClosesFull = 13,
    /// One call moved more records than are followed.
    TlsRecords = 14,
    /// `ABORTS` was full: an abortive close is not counted.
    AbortsFull = 15,
    /// close_range() closed more descriptors than are looked at.
    CloseRange = 16,
}

/// Slots of the `LOST` array: one for each [`Lost`], which have the numbers from 0 on.
pub const LOST_SLOTS: u32 = <Lost as Contiguous>::MAX_VALUE + 1;

const _: () = assert!(<Lost as Contiguous>::MIN_VALUE == 0);
