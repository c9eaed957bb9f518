//! Sockets of which only the address is known: that is what the exact map has of those that no
//! descriptor table shows, and what an accept queue links. Every field is read with
//! `bpf_probe_read_kernel`; the memory stays a TCP socket's (`SLAB_TYPESAFE_BY_RCU`), if perhaps
//! another's.

use tlsclose_common::facts::Holder;

use super::{
    fields::{AF_INET, AF_INET6, IPPROTO_TCP, references_at, word_at},
    globals::{LAYOUT, global},
    tcp::{fold_peer, fold_v6},
};

/// The address of what was a TCP socket when it was found.
#[derive(Clone, Copy)]
pub struct Stray(pub u64);

macro_rules! word {
    ($stray:expr, $field:ident) => {
        word_at($stray.0 + global!(LAYOUT.$field) as u64)
    };
}

impl Stray {
    #[inline(always)]
    pub fn is_tcp(self) -> bool {
        let family = self.family();
        (family == AF_INET || family == AF_INET6) && word!(self, sk_protocol) as u16 == IPPROTO_TCP
    }

    #[inline(always)]
    fn family(self) -> u16 {
        word!(self, sk_family) as u16
    }

    #[inline(always)]
    pub fn state(self) -> u8 {
        word!(self, sk_state) as u8
    }

    /// See [`super::Tcp::local_port`].
    #[inline(always)]
    pub fn bound_port(self) -> u16 {
        word!(self, sk_num) as u16
    }

    /// See [`super::Sequences::local_port`].
    #[inline(always)]
    pub fn local_port(self) -> u16 {
        u16::from_be(word!(self, inet_sport) as u16)
    }

    #[inline(always)]
    pub fn netns(self) -> u32 {
        word_at(word!(self, sk_net) + global!(LAYOUT.net_inum) as u64) as u32
    }

    /// A file with at least one reference holds it: it is neither an orphan, nor in an accept
    /// queue, nor the kernel's, nor inside its last close().
    #[inline(always)]
    pub fn has_file(self) -> bool {
        let socket = word!(self, sk_socket);
        if socket == 0 {
            return false;
        }
        let file = word_at(socket + global!(LAYOUT.socket_file) as u64);
        file != 0 && references_at(file) != 0
    }

    #[inline(always)]
    fn remote(self) -> [u64; 2] {
        if self.family() == AF_INET {
            [word!(self, sk_daddr) as u32 as u64, 0]
        } else {
            let at = self.0 + global!(LAYOUT.sk_v6_daddr) as u64;
            [word_at(at), word_at(at + 8)]
        }
    }

    #[inline(always)]
    fn local(self) -> [u64; 2] {
        if self.family() == AF_INET {
            [word!(self, sk_rcv_saddr) as u32 as u64, 0]
        } else {
            let at = self.0 + global!(LAYOUT.sk_v6_rcv_saddr) as u64;
            [word_at(at), word_at(at + 8)]
        }
    }

    /// See [`super::Tcp::peer`].
    #[inline(always)]
    pub fn peer(self) -> u32 {
        let remote = self.remote();
        let address = if self.family() == AF_INET { remote[0] as u32 } else { fold_v6(remote) };
        fold_peer(address, u16::from_be(word!(self, sk_dport) as u16))
    }

    /// Sum of `write_seq` and `copied_seq`.
    #[inline(always)]
    pub fn moved(self) -> u32 {
        (word!(self, tcp_write_seq) as u32).wrapping_add(word!(self, tcp_copied_seq) as u32)
    }

    /// Writes what the socket itself says into the record.
    #[inline(always)]
    pub fn fill(self, record: &mut Holder) {
        record.sk = self.0;
        record.netns = self.netns();
        record.write_seq = word!(self, tcp_write_seq) as u32;
        record.snd_una = word!(self, tcp_snd_una) as u32;
        record.copied_seq = word!(self, tcp_copied_seq) as u32;
        record.rcv_nxt = word!(self, tcp_rcv_nxt) as u32;
        record.lsndtime = word!(self, tcp_lsndtime) as u32;
        record.rcv_tstamp = word!(self, tcp_rcv_tstamp) as u32;
        record.local_port = self.local_port();
        record.remote_port = u16::from_be(word!(self, sk_dport) as u16);
        record.family = self.family() as u8;
        record.state = self.state();
        record.shutdown = word!(self, sk_shutdown) as u8 & 3;
        let (local, remote) = (self.local(), self.remote());
        // SAFETY: 16 bytes each, as in `census::fill`.
        unsafe {
            (&raw mut record.local).cast::<[u64; 2]>().write_unaligned(local);
            (&raw mut record.remote).cast::<[u64; 2]>().write_unaligned(remote);
        }
    }
}

/// The address of a `struct request_sock` in an accept queue. The queue may change while it is
/// read: the memory stays a socket's, but perhaps of another queue.
#[derive(Clone, Copy)]
pub struct Request(pub u64);

impl Request {
    #[inline(always)]
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    #[inline(always)]
    pub fn next(self) -> u64 {
        word!(self, request_next)
    }

    #[inline(always)]
    pub fn child(self) -> Stray {
        Stray(word!(self, request_sk))
    }

    /// Address of the listener that this is queued at.
    #[inline(always)]
    pub fn listener(self) -> u64 {
        word!(self, request_listener)
    }
}
