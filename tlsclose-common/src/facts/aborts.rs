//! Connections that ended without a FIN in both directions: by a reset, or by an error.

use bytemuck::{Pod, Zeroable};

use super::comm::Comm;

/// Why. Values of [`AbortKey::cause`] and [`super::HalfClosed::abort`].
pub mod abort {
    /// Nothing did, or it is not known.
    pub const NONE: u8 = 0;
    /// close() threw away data that nobody had read.
    pub const UNREAD_DATA: u8 = 1;
    /// close() with SO_LINGER on, and a time of 0.
    pub const LINGER_ZERO: u8 = 2;
    /// connect() to AF_UNSPEC.
    pub const DISCONNECT: u8 = 3;
    /// The listener was closed before anybody accepted the connection.
    pub const LISTENER_CLOSED: u8 = 4;
    /// close() with TCP_LINGER2 below 0.
    pub const LINGER2: u8 = 5;
    /// close() while the host had too many orphans, or no memory for them.
    pub const TOO_MANY_ORPHANS: u8 = 6;
    /// The peer sent an RST.
    pub const PEER_RESET: u8 = 7;
    /// No answer to keepalive probes.
    pub const KEEPALIVE_TIMEOUT: u8 = 8;
    /// No acknowledgement of what was sent.
    pub const RETRANSMISSION_TIMEOUT: u8 = 9;
    /// Somebody else destroyed it (`ss -K`).
    pub const DESTROYED: u8 = 10;
    /// The peer sent more after the program had closed, or shut down both sides.
    pub const DATA_AFTER_CLOSE: u8 = 11;
}

/// Key of `ABORTS`. `tgid` is the process that closed the socket, 0 where that is nobody.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct AbortKey {
    /// Start of the process (leader's `start_boottime`, ns of CLOCK_BOOTTIME).
    pub started_at: u64,
    /// Process that closed it, as its PID in the initial PID namespace; 0 where that is nobody.
    pub tgid: u32,
    /// One of [`abort`].
    pub cause: u32,
}

/// Value of `ABORTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Aborts {
    /// How many connections.
    pub count: u64,
    /// Name of the process then, NUL-terminated: it may be gone by now.
    pub comm: Comm,
}

/// Key of `ABORT_STACKS`: sampled closes of one code path. Lossy.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct AbortStackKey {
    /// Who closed, and why.
    pub aborted: AbortKey,
    /// Key of the stack.
    pub stack: u64,
}

const _: () = {
    assert!(size_of::<AbortKey>() == 16);
    assert!(size_of::<Aborts>() == 24);
    assert!(size_of::<AbortStackKey>() == 24);
};
