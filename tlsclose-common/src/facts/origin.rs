//! Where sockets come from.

use bytemuck::{Pod, Zeroable};

/// `ORIGIN`: who opened a socket, with which stack. Lossy: only sampled openings are in it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Origin {
    /// When, in ns of CLOCK_MONOTONIC; 0 when that is not known.
    pub opened_at: u64,
    /// Key of the opening stack, 0 when none was taken.
    pub opened: u64,
    /// Key of the stack of the last read or send, taken for armed processes only; 0 when none.
    pub touched: u64,
    /// When `touched` was, in ns of CLOCK_MONOTONIC.
    pub touched_at: u64,
    /// Process that opened it, as its PID in the initial PID namespace.
    pub tgid: u32,
    /// Remote address and port, folded: tells a reused socket address.
    pub peer: u32,
    /// The call that opened it: one of [`super::call`].
    pub opened_call: u8,
    /// The call of `touched`: one of [`super::call`].
    pub touched_call: u8,
    /// Zero: no record holds bytes that nobody wrote.
    pub pad: [u8; 2],
    /// Result of the last touched call: bytes, or a negative errno.
    pub touched_result: i32,
}

const _: () = assert!(size_of::<Origin>() == 48);
