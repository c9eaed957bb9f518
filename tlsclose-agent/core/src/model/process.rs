//! Processes, and what they hold.

/// A process, never mistaken for another that got its PID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId {
    /// PID in the agent's PID namespace; 0 where nobody is known.
    pub tgid: u32,
    /// `start_boottime` of its first thread: ns of CLOCK_BOOTTIME.
    pub started_at: u64,
}

impl ProcessId {
    /// False where no holder and no user of a socket is known.
    pub fn is_known(self) -> bool {
        self.tgid != 0
    }
}

/// A thread of exactly this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thread {
    /// The process.
    pub process: ProcessId,
    /// Its TID in the agent's PID namespace.
    pub tid: u32,
}

/// One descriptor that holds a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldBy {
    /// Whose descriptor it is.
    pub process: ProcessId,
    /// Its number.
    pub fd: u32,
}
