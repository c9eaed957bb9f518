//! Who holds a socket: the records of the census.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use super::{half_closed::HalfClosed, origin::Origin};

/// One descriptor of one process that refers to a TCP socket: a record of the census.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Holder {
    pub sk: u64,
    /// Start of the process (leader's `start_boottime`, ns of CLOCK_BOOTTIME).
    pub started_at: u64,
    /// Address of the `struct file`: several descriptors may share it.
    pub file: u64,
    pub origin: Origin,
    pub half: HalfClosed,
    pub tgid: u32,
    pub fd: u32,
    pub netns: u32,
    pub write_seq: u32,
    pub snd_una: u32,
    pub copied_seq: u32,
    pub rcv_nxt: u32,
    /// `tcp_jiffies32` of the last data sent and of the last segment received.
    pub lsndtime: u32,
    pub rcv_tstamp: u32,
    pub local: [u8; 16],
    pub remote: [u8; 16],
    pub local_port: u16,
    pub remote_port: u16,
    /// 2 (AF_INET) or 10 (AF_INET6); addresses of the former take the first four bytes.
    pub family: u8,
    pub state: u8,
    /// 1: receive side shut down, 2: send side (`sk_shutdown`).
    pub shutdown: u8,
    /// Bits of [`holder`].
    pub flags: u8,
    /// Bits of [`super::tls_now`].
    pub tls: u8,
    pub pad: [u8; 3],
}

/// Bits of [`Holder::flags`].
pub mod holder {
    /// `origin` is filled.
    pub const ORIGIN: u8 = 1;
    /// `half` is filled.
    pub const HALF: u8 = 2;
    /// A map entry for this address belonged to another socket and was ignored.
    pub const STALE: u8 = 4;
    /// A child in an accept queue: `tgid`, `fd` and `origin` are its listener's, and `file` is the
    /// address of the listener's socket.
    pub const QUEUED: u8 = 8;
    /// A listener with children in its accept queue: see [`crate::facts::AcceptQueue`].
    pub const QUEUE: u8 = 16;
    /// A close() of one of its descriptors left it open: see [`crate::facts::Closer`].
    pub const CLOSED: u8 = 32;
    /// Nobody has used the socket since that close(): it came after the read in `half`, or that was made by another
    /// process than `tgid`; or the end was not read, and nothing was sent or read after the close().
    pub const CLOSED_LAST: u8 = 64;
    /// No descriptor table shows who holds it. `tgid` is 0, or the process that called close().
    pub const UNHELD: u8 = 128;
}

const _: () = {
    assert!(offset_of!(Holder, origin) == 24);
    assert!(size_of::<Holder>() == 208);
};
