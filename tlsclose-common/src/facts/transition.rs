//! The opt-in stream of state transitions.

use bytemuck::{Pod, Zeroable};

/// One TCP state transition of the opt-in stream.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Transition {
    pub at: u64,
    pub sk: u64,
    /// Owner: the process that opened it, 0 when not known.
    pub tgid: u32,
    pub netns: u32,
    pub local: [u8; 16],
    pub remote: [u8; 16],
    pub local_port: u16,
    pub remote_port: u16,
    pub family: u8,
    pub old: u8,
    pub new: u8,
    pub pad: u8,
}

const _: () = assert!(size_of::<Transition>() == 64);
