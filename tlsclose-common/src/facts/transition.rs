//! The opt-in stream of state transitions.

use bytemuck::{Pod, Zeroable};

/// One TCP state transition of the opt-in stream.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Transition {
    /// When, in ns of CLOCK_MONOTONIC.
    pub at: u64,
    /// Address of the `struct sock`.
    pub sk: u64,
    /// Owner: the process that opened it, 0 when not known.
    pub tgid: u32,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Address of this side, in network byte order.
    pub local: [u8; 16],
    /// Address of the peer, in network byte order.
    pub remote: [u8; 16],
    /// In host byte order.
    pub local_port: u16,
    /// In host byte order.
    pub remote_port: u16,
    /// 2 (AF_INET) or 10 (AF_INET6).
    pub family: u8,
    /// State before: one of [`super::state`].
    pub old: u8,
    /// State after: one of [`super::state`].
    pub new: u8,
    /// Zero: no record holds bytes that nobody wrote.
    pub pad: u8,
}

const _: () = assert!(size_of::<Transition>() == 64);
