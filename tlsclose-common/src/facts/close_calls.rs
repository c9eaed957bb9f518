//! Calls of close(), as programs make them: not every one closes.

use bytemuck::{Pod, Zeroable};

use super::comm::Comm;

/// What a call did. Slots of `CLOSE_CALLS`.
pub mod close_call {
    /// It was the last reference: the socket is closed.
    pub const CLOSED: u32 = 0;
    /// Something else still holds the file.
    pub const STILL_HELD: u32 = 1;
    /// There was no such descriptor.
    pub const BAD_FD: u32 = 2;
    /// Number of slots.
    pub const RESULTS: u32 = 3;
}

/// `CLOSERS`: the last close() of a socket that left it open, by its address. Lossy: evidence only.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Closer {
    /// When, in ns of CLOCK_MONOTONIC.
    pub at: u64,
    /// Key of the stack of the call, 0 when none was taken.
    pub stack: u64,
    /// Start of that process (leader's `start_boottime`, ns of CLOCK_BOOTTIME).
    pub started_at: u64,
    /// Process, as its PID in the initial PID namespace (`task_struct.tgid`).
    pub tgid: u32,
    /// The descriptor that was closed.
    pub fd: u32,
    /// See [`super::Origin::peer`].
    pub peer: u32,
    /// Sum of `write_seq` and `copied_seq` then: changes when somebody sends or reads.
    pub moved: u32,
    /// Name of the process then: it may be gone by now.
    pub comm: Comm,
    /// Clients of one server have the same peer.
    pub local_port: u16,
    /// One of [`super::call`].
    pub call: u8,
    /// Zero: no record holds bytes that nobody wrote.
    pub pad: [u8; 5],
}

/// `BAD_CLOSES`: calls of close() for descriptors that were not open, by process that holds TCP
/// sockets: a descriptor closed twice may by then be somebody else's.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct BadCloses {
    /// How many calls.
    pub count: u64,
    /// Key of the stack of the last one, 0 when none was taken.
    pub stack: u64,
    /// Start of the process (leader's `start_boottime`, ns of CLOCK_BOOTTIME).
    pub started_at: u64,
    /// The descriptor that the last one asked for.
    pub fd: u32,
    /// Zero: no record holds bytes that nobody wrote.
    pub pad: u32,
}

const _: () = {
    assert!(size_of::<Closer>() == 64);
    assert!(size_of::<BadCloses>() == 32);
};
