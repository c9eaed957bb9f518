//! Sockets on which one side has ended, or both.

use bytemuck::{Pod, Zeroable};

use super::{aborts::abort, call};

/// `HALF_CLOSED`: since when, and what the program did about it. Exact: one entry for every
/// socket that is half-closed, or closed by its peer, while a file holds it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct HalfClosed {
    /// When the socket entered its present state.
    pub since: u64,
    // What every close() reads comes first: in the kernel's hash table, that is beside the key.
    /// See [`super::Origin::peer`].
    pub peer: u32,
    /// One of [`super::state`].
    pub state: u8,
    /// The call of `touched`: one of [`super::call`].
    pub touched_call: u8,
    /// Bits of [`half`].
    pub flags: u8,
    /// What ended the connection in CLOSE: one of [`abort`].
    pub abort: u8,
    /// When a read first returned 0 after the peer's FIN; 0 if none did.
    pub eof_at: u64,
    /// Key of the stack of that read, or of the shutdown; 0 when none was taken.
    pub touched: u64,
    /// When `touched` was, in ns of CLOCK_MONOTONIC; 0 while it was not.
    pub touched_at: u64,
    /// Reads that returned 0 after the FIN, modulo 2^32.
    pub eof_reads: u32,
    /// Process of `touched`.
    pub tgid: u32,
    /// Number of the census that last met it in a descriptor table or in an accept queue.
    pub census: u32,
    /// 1: it was written out as one that no descriptor table shows.
    pub shown: u32,
}

impl HalfClosed {
    /// Nothing known yet.
    pub const NEW: Self = Self {
        since: 0,
        eof_at: 0,
        touched: 0,
        touched_at: 0,
        peer: 0,
        eof_reads: 0,
        tgid: 0,
        state: 0,
        touched_call: call::NONE,
        flags: 0,
        abort: abort::NONE,
        census: 0,
        shown: 0,
    };
}

/// Bits of [`HalfClosed::flags`].
pub mod half {
    /// The connection had been established before it was closed.
    pub const WAS_CONNECTED: u8 = 1;
    /// A connect() that failed; the socket was never connected.
    pub const CONNECT_FAILED: u8 = 2;
    /// Both sides had sent their FIN, and each was acknowledged.
    pub const BOTH_ENDED: u8 = 4;
}

const _: () = assert!(size_of::<HalfClosed>() == 56);
