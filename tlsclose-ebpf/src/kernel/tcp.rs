//! TCP sockets.

use core::ffi::c_void;

use tlsclose_common::layout::ABSENT;

use super::{
    access,
    fields::{AF_INET, AF_INET6, IPPROTO_TCP, field, references, words},
    globals::{LAYOUT, global},
};

/// A TCP socket: `struct sock *` with `sk_protocol == IPPROTO_TCP`.
///
/// MPTCP and SCTP share the tracepoints, and the socket-level ones fire for every family.
#[derive(Clone, Copy)]
pub struct Tcp(*const c_void);

/// Bits of [`Tcp::shutdown`] (include/net/sock.h).
pub const RCV_SHUTDOWN: u8 = 1;
pub const SEND_SHUTDOWN: u8 = 2;

/// Bits of `sk_flags` (include/net/sock.h, `enum sock_flags`).
const SOCK_DEAD: u64 = 1 << 0;
const SOCK_DONE: u64 = 1 << 1;
const SOCK_KEEPOPEN: u64 = 1 << 3;
const SOCK_LINGER: u64 = 1 << 4;

#[unsafe(no_mangle)]
static TCP_RETRANSMITS: u32 = ABSENT;
#[unsafe(no_mangle)]
static TCP_PROBES_OUT: u32 = ABSENT;

/// Who keeps a socket open (KERNEL: net/ipv4/tcp.c, `__tcp_close`; net/core/sock.c, `sock_orphan`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// A file, with at least one reference.
    File,
    /// A file whose last reference is gone: we are inside the last close().
    Closing,
    /// No `struct socket`: an orphan, or a child that nobody has accepted.
    NoSocket,
    /// A kernel socket, without a file.
    Kernel,
}

impl Tcp {
    #[inline(always)]
    pub fn new(sk: *const c_void) -> Option<Self> {
        let family: u16 = field!(sk, sk_family: u16);
        if family != AF_INET && family != AF_INET6 {
            return None;
        }
        let protocol: u16 = field!(sk, sk_protocol: u16);
        (protocol == IPPROTO_TCP).then_some(Self(sk))
    }

    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0 as u64
    }

    #[inline(always)]
    pub fn family(self) -> u8 {
        field!(self.0, sk_family: u16) as u8
    }

    #[inline(always)]
    pub fn state(self) -> u8 {
        field!(self.0, sk_state: u8)
    }

    /// `sk_shutdown`: which sides will carry no more.
    #[inline(always)]
    pub fn shutdown(self) -> u8 {
        field!(self.0, sk_shutdown: u8)
    }

    /// `sk_err`: the errno that the next call on the socket gets.
    #[inline(always)]
    pub fn error(self) -> u32 {
        field!(self.0, sk_err: u32)
    }

    /// No file will ever hold it again.
    #[inline(always)]
    pub fn is_dead(self) -> bool {
        field!(self.0, sk_flags: u64) & SOCK_DEAD != 0
    }

    /// SO_LINGER is on.
    #[inline(always)]
    pub fn lingers(self) -> bool {
        field!(self.0, sk_flags: u64) & SOCK_LINGER != 0
    }

    /// SO_KEEPALIVE is on.
    #[inline(always)]
    pub fn keeps_alive(self) -> bool {
        field!(self.0, sk_flags: u64) & SOCK_KEEPOPEN != 0
    }

    /// Bytes that have arrived and were not read, without the peer's FIN, which also counts as one
    /// (`tcp_fin` sets `SOCK_DONE`).
    #[inline(always)]
    pub fn unread(self) -> u32 {
        let Some(sequences) = self.sequences() else { return 0 };
        let fin = (field!(self.0, sk_flags: u64) & SOCK_DONE != 0) as u32;
        let waiting = sequences.rcv_nxt().wrapping_sub(sequences.copied_seq());
        if waiting > fin { waiting - fin } else { 0 }
    }

    /// A task owns the socket's lock: we run in process context. Softirq otherwise, but for
    /// children killed by their listener's close (`inet_csk_listen_stop`).
    #[inline(always)]
    pub fn owned(self) -> bool {
        field!(self.0, sk_lock_owned: u32) != 0
    }

    #[inline(always)]
    pub fn remote_port(self) -> u16 {
        u16::from_be(field!(self.0, sk_dport: u16))
    }

    /// `skc_num`; 0 once the port has been put.
    #[inline(always)]
    pub fn local_port(self) -> u16 {
        field!(self.0, sk_num: u16)
    }

    /// Of a listener: children in its accept queue, and how many fit.
    #[inline(always)]
    pub fn backlog(self) -> (u32, u32) {
        (field!(self.0, sk_ack_backlog: u32), field!(self.0, sk_max_ack_backlog: u32))
    }

    #[inline(always)]
    pub fn netns(self) -> u32 {
        let net: *const c_void = field!(self.0, sk_net: *const c_void);
        field!(net, net_inum: u32)
    }

    /// Remote address and port, folded: differs, all but surely, between two users of one socket address.
    #[inline(always)]
    pub fn peer(self) -> u32 {
        let address =
            if self.family() as u16 == AF_INET { field!(self.0, sk_daddr: u32) } else { fold_v6(self.v6_remote()) };
        fold_peer(address, self.remote_port())
    }

    /// Whether `recorded` was this socket's [`Tcp::peer`].
    #[inline(always)]
    pub fn had_peer(self, recorded: u32) -> bool {
        let now = self.peer();
        recorded == now || (self.remote_port() == 0 && port_taken(recorded, now) != 0)
    }

    #[inline(always)]
    fn v6_remote(self) -> [u64; 2] {
        words(self.0, global!(LAYOUT.sk_v6_daddr))
    }

    /// Local and remote address; IPv4 takes the first four bytes.
    #[inline(always)]
    pub fn addresses(self) -> ([u64; 2], [u64; 2]) {
        if self.family() as u16 == AF_INET {
            ([field!(self.0, sk_rcv_saddr: u32) as u64, 0], [field!(self.0, sk_daddr: u32) as u64, 0])
        } else {
            (words(self.0, global!(LAYOUT.sk_v6_rcv_saddr)), self.v6_remote())
        }
    }

    #[inline(always)]
    pub fn hold(self) -> Hold {
        let socket: *const c_void = field!(self.0, sk_socket: *const c_void);
        if socket.is_null() {
            return Hold::NoSocket;
        }
        let file: *const c_void = field!(socket, socket_file: *const c_void);
        if file.is_null() {
            return Hold::Kernel;
        }
        if references(file) == 0 { Hold::Closing } else { Hold::File }
    }

    /// Fields behind `struct sock` need the verifier to know that this is a `tcp_sock`.
    #[inline(always)]
    pub fn sequences(self) -> Option<Sequences> {
        let tp = access::tcp_sock(self.0);
        if tp.is_null() {
            return None;
        }
        Some(Sequences(tp))
    }
}

/// Sequence numbers and counters of a `struct tcp_sock`.
#[derive(Clone, Copy)]
pub struct Sequences(*const c_void);

impl Sequences {
    #[inline(always)]
    pub fn write_seq(self) -> u32 {
        field!(self.0, tcp_write_seq: u32)
    }
    #[inline(always)]
    pub fn snd_una(self) -> u32 {
        field!(self.0, tcp_snd_una: u32)
    }
    #[inline(always)]
    pub fn copied_seq(self) -> u32 {
        field!(self.0, tcp_copied_seq: u32)
    }
    #[inline(always)]
    pub fn rcv_nxt(self) -> u32 {
        field!(self.0, tcp_rcv_nxt: u32)
    }
    #[inline(always)]
    pub fn lsndtime(self) -> u32 {
        field!(self.0, tcp_lsndtime: u32)
    }
    #[inline(always)]
    pub fn rcv_tstamp(self) -> u32 {
        field!(self.0, tcp_rcv_tstamp: u32)
    }

    /// Retransmissions and probes since the peer last answered.
    #[inline(always)]
    pub fn unanswered(self) -> (u8, u8) {
        (self.optional(global!(TCP_RETRANSMITS)), self.optional(global!(TCP_PROBES_OUT)))
    }

    #[inline(always)]
    fn optional(self, offset: u32) -> u8 {
        if offset == ABSENT {
            return 0;
        }
        access::load(self.0, offset as usize)
    }

    /// Its upper-layer protocol is `tls`: the kernel makes the records, or takes them apart.
    #[inline(always)]
    pub fn has_kernel_tls(self) -> bool {
        const TLS: u32 = u32::from_ne_bytes(*b"tls\0");
        let ops: *const c_void = field!(self.0, tcp_ulp_ops: *const c_void);
        !ops.is_null() && field!(ops, ulp_name: u32) == TLS
    }

    /// TCP_LINGER2: below 0, close() does not wait in FIN_WAIT_2.
    #[inline(always)]
    pub fn linger2(self) -> i32 {
        field!(self.0, tcp_linger2: i32)
    }

    /// The local port as bound; stays when `skc_num` is put.
    #[inline(always)]
    pub fn local_port(self) -> u16 {
        u16::from_be(field!(self.0, inet_sport: u16))
    }

    /// Of a listener: address of the first [`super::Request`] in its accept queue.
    #[inline(always)]
    pub fn queue(self) -> u64 {
        field!(self.0, tcp_queue_head: u64)
    }

    /// Of a listener: connections in SYN_RECV, and those of them whose SYN-ACK was sent once so far.
    #[inline(always)]
    pub fn requests(self) -> (u32, u32) {
        (field!(self.0, tcp_queue_requests: u32), field!(self.0, tcp_queue_young: u32))
    }

    /// Bytes read so far by the program.
    #[inline(always)]
    pub fn read_bytes(self) -> u64 {
        let received = field!(self.0, tcp_bytes_received: u64);
        received.wrapping_sub(self.rcv_nxt().wrapping_sub(self.copied_seq()) as u64)
    }

    /// Bytes written so far by the program.
    #[inline(always)]
    pub fn written_bytes(self) -> u64 {
        let acked = field!(self.0, tcp_bytes_acked: u64);
        acked.wrapping_add(self.write_seq().wrapping_sub(self.snd_una()) as u64)
    }
}

/// See [`Tcp::peer`]; a connection accepted by descriptor and the same one met later must agree.
#[inline(always)]
pub(super) fn fold_peer(address: u32, port: u16) -> u32 {
    address ^ ((port as u32) << 16 | port as u32)
}

/// The remote port at the time when [`Tcp::peer`] was `recorded`, where all that a connect() which failed has done
/// since is to take the port away (KERNEL: net/ipv4/af_inet.c, `__inet_stream_connect`: `tcp_disconnect`); else 0.
#[inline(always)]
pub fn port_taken(recorded: u32, now: u32) -> u16 {
    let port = recorded ^ now;
    // An address of 0 is that of a socket which was never connected.
    if now != 0 && port >> 16 == port & 0xffff { port as u16 } else { 0 }
}

#[inline(always)]
pub(super) fn fold_v6(halves: [u64; 2]) -> u32 {
    let folded = halves[0] ^ halves[1];
    (folded ^ (folded >> 32)) as u32
}
