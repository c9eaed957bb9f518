//! Who holds a socket: the records of the census.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use super::{half_closed::HalfClosed, origin::Origin};

/// One descriptor of one process that refers to a TCP socket: a record of the census.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Holder {
    /// Address of the `struct sock`: tells sockets apart while they exist.
    pub sk: u64,
    /// Start of the process (leader's `start_boottime`, ns of CLOCK_BOOTTIME).
    pub started_at: u64,
    /// Address of the `struct file`: several descriptors may share it.
    pub file: u64,
    /// Who opened it, as far as that was sampled.
    pub origin: Origin,
    /// Since when it is half-closed, and what was done about it; all zero where it is not.
    pub half: HalfClosed,
    /// Process, as its PID in the initial PID namespace (`task_struct.tgid`).
    pub tgid: u32,
    /// Number of the descriptor.
    pub fd: u32,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Sequence number behind the last byte that the program wrote (`tcp_sock.write_seq`).
    pub write_seq: u32,
    /// First sequence number that the peer has not acknowledged.
    pub snd_una: u32,
    /// Sequence number of the first byte that the program has not read.
    pub copied_seq: u32,
    /// Next sequence number expected from the peer.
    pub rcv_nxt: u32,
    /// `tcp_jiffies32` of the last data sent and of the last segment received.
    pub lsndtime: u32,
    /// See `lsndtime`.
    pub rcv_tstamp: u32,
    /// Address of this side, in network byte order.
    pub local: [u8; 16],
    /// Address of the peer, in network byte order.
    pub remote: [u8; 16],
    /// In host byte order.
    pub local_port: u16,
    /// In host byte order.
    pub remote_port: u16,
    /// 2 (AF_INET) or 10 (AF_INET6); addresses of the former take the first four bytes.
    pub family: u8,
    /// One of [`super::state`].
    pub state: u8,
    /// 1: receive side shut down, 2: send side (`sk_shutdown`).
    pub shutdown: u8,
    /// Bits of [`holder`].
    pub flags: u8,
    /// Bits of [`super::tls_now`].
    pub tls: u8,
    /// Zero: no record holds bytes that nobody wrote.
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
