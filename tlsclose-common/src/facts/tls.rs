//! TLS connections, and how they were closed.

use bytemuck::{Pod, Zeroable};

use super::comm::Comm;
use crate::tls::Direction;

/// `TLS_SOCKETS`: a connection on which TLS was recognised, by socket address. Exact.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct TlsSocket {
    /// Start of `tgid` (leader's `start_boottime`, ns of CLOCK_BOOTTIME).
    pub started_at: u64,
    /// What the program sent.
    pub local: Direction,
    /// What the program read.
    pub remote: Direction,
    /// Remote address and port, folded: tells a reused socket address.
    pub peer: u32,
    /// Process that used the socket last.
    pub tgid: u32,
    /// State that the connection left for CLOSE while a file held the socket; 0 while it lives.
    pub ended_from: u8,
    /// It did so by an error: a reset, or a time-out.
    pub failed: u8,
    /// Message of the sendmmsg() call of `batch_thread` that comes next; 0 outside of one.
    pub batch: u8,
    /// Which way data of the program went last: a value of [`super::call`]; 0 while there was none.
    pub last_data: u8,
    /// Thread that is inside such a call, as its TID; 0 where none is.
    pub batch_thread: u32,
    /// Name of the process, NUL-terminated, when it used the socket first.
    pub comm: Comm,
}

/// TLS was recognised, for the first time or after a quiet time: the hook at sends is needed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct TlsSeen {
    /// [`super::record::TLS_SEEN`].
    pub kind: u32,
    /// Zero: no record holds bytes that nobody wrote.
    pub pad: u32,
}

/// Key of `TLS_CLOSES`: closes of one process about which the same is known. Exact.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct TlsCloseKey {
    /// Start of the process (leader's `start_boottime`, ns of CLOCK_BOOTTIME).
    pub started_at: u64,
    /// Process, as its PID in the initial PID namespace (`task_struct.tgid`).
    pub tgid: u32,
    /// Marks of both directions, which [`tls_close::of_marks`] puts in and [`tls_close::local_marks`] and
    /// [`tls_close::remote_marks`] take out, and the other bits of [`tls_close`].
    pub facts: u32,
}

/// Value of `TLS_CLOSES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct TlsCloses {
    /// How many connections.
    pub count: u64,
    /// Name of the process, NUL-terminated; the first word is 0 when it is not known.
    pub comm: Comm,
}

/// Key of `TLS_STACKS`: sampled closes of one code path. Lossy.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct TlsStackKey {
    /// Who closed, and how TLS ended.
    pub close: TlsCloseKey,
    /// Key of the stack.
    pub stack: u64,
}

/// Bits of [`TlsCloseKey::facts`] about the close itself.
pub mod tls_close {
    /// The peer's FIN had arrived.
    pub const PEER_FIN: u32 = 1 << 16;
    /// The close() sent an RST: unread data, or SO_LINGER of 0.
    pub const RESET_BY_US: u32 = 1 << 17;
    /// The connection had ended by an RST, or by a time-out.
    pub const FAILED: u32 = 1 << 18;
    /// Data of the peer had arrived that the program never read.
    pub const UNREAD: u32 = 1 << 19;
    /// The kernel closed, because the process ended.
    pub const BY_EXIT: u32 = 1 << 20;
    /// The last data on the connection was sent by the program, within the second before.
    pub const SENT_LAST: u32 = 1 << 21;
    /// The peer's FIN had arrived before ours was sent.
    pub const PEER_FIRST: u32 = 1 << 22;

    /// Facts that tell the marks of both directions (bits of [`mark`](crate::tls::mark)), and nothing of the close yet.
    #[inline(always)]
    pub const fn of_marks(local: u8, remote: u8) -> u32 {
        local as u32 | (remote as u32) << 8
    }

    /// The marks of what the program sent.
    #[inline(always)]
    pub const fn local_marks(facts: u32) -> u8 {
        facts as u8
    }

    /// The marks of what the program read.
    #[inline(always)]
    pub const fn remote_marks(facts: u32) -> u8 {
        (facts >> 8) as u8
    }
}

/// Bits of a census record's `tls`: how the goodbye stands on a half-closed socket.
pub mod tls_now {
    /// It is TLS, and both sides have got through the handshake.
    pub const IS_TLS: u8 = 1;
    /// This side sent its close_notify.
    pub const LOCAL_GOODBYE: u8 = 2;
    /// The peer sent its close_notify.
    pub const REMOTE_GOODBYE: u8 = 4;
    /// What this side sent was not followed to its end.
    pub const LOCAL_UNKNOWN: u8 = 8;
    /// What the peer sent was not followed to its end.
    pub const REMOTE_UNKNOWN: u8 = 16;
}

const _: () = {
    assert!(size_of::<TlsSocket>() == 80);
    assert!(size_of::<TlsCloseKey>() == 16);
    assert!(size_of::<TlsCloses>() == 24);
    assert!(size_of::<TlsStackKey>() == 24);
};
