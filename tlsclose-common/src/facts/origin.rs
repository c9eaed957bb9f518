//! Where sockets come from.

use bytemuck::{Pod, Zeroable};

/// `ORIGIN`: who opened a socket, with which stack. Lossy: only sampled openings are in it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Origin {
    pub opened_at: u64,
    /// Key of the opening stack, 0 when none was taken.
    pub opened: u64,
    /// Key of the stack of the last read or send, taken for armed processes only; 0 when none.
    pub touched: u64,
    pub touched_at: u64,
    pub tgid: u32,
    /// Remote address and port, folded: tells a reused socket address.
    pub peer: u32,
    pub opened_call: u8,
    pub touched_call: u8,
    pub pad: [u8; 2],
    /// Result of the last touched call: bytes, or a negative errno.
    pub touched_result: i32,
}

const _: () = assert!(size_of::<Origin>() == 48);
