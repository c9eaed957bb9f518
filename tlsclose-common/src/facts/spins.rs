//! Threads that run in circles around a connection that is over.

use bytemuck::{Pod, Zeroable};

/// `EOF_SPINS`, by address of the socket: who reads a finished stream again and again. Lossy.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct EofSpin {
    /// When, in ns of CLOCK_MONOTONIC.
    pub at: u64,
    /// Key of the stack of one of those reads; 0 when none was taken.
    pub stack: u64,
    /// Tells a reused socket address.
    pub peer: u32,
    /// Process of the reader, as its PID in the initial PID namespace.
    pub tgid: u32,
    /// Thread of the reader, in the same namespace.
    pub tid: u32,
    /// Zero: no record holds bytes that nobody wrote.
    pub pad: u32,
}

/// `SUSPECTS`, by thread: what a thread that burns a core calls while the agent looks.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Suspect {
    /// Calls of epoll_wait() that did not wait: with a timeout of 0, or told of something.
    pub polls: u64,
    /// Calls that wait, and calls that do something: reads, sends, accepts. Wake-ups of an event loop aside.
    pub others: u64,
    /// Key of the stack of one of the `polls`; 0 when none was taken.
    pub stack: u64,
    /// Descriptor that the last of the `polls` asked.
    pub epoll: u32,
    /// Zero: no record holds bytes that nobody wrote.
    pub pad: u32,
}

const _: () = {
    assert!(size_of::<EofSpin>() == 32);
    assert!(size_of::<Suspect>() == 32);
};
