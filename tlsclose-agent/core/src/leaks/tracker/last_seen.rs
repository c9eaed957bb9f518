//! The facts of a socket as a census last showed them.

use tlsclose_common::facts::{Holder, call, half, holder};

use crate::model::Endpoints;

/// What an example of a finding shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastSeen {
    /// Our address and the peer's.
    pub ends: Endpoints,
    /// By its number in the kernel (`include/net/tcp_states.h`).
    pub state: u8,
    /// Bytes that the program has not read: `rcv_nxt - copied_seq` of `struct tcp_sock`.
    pub recv_queue: u32,
    /// Bytes that the peer has not acknowledged: `write_seq - snd_una` of `struct tcp_sock`.
    pub send_queue: u32,
    /// When a call last touched it, in ns of CLOCK_MONOTONIC; 0 when not known.
    pub touched_at: u64,
    /// Key of the stack that last moved data, if that was a send.
    pub sent: u64,
    /// Address of the listener in whose accept queue it is, else 0.
    pub listener: u64,
    /// Address of the socket.
    pub sk: u64,
    /// No descriptor table shows who holds it: `first_holder` is who last used it, as far as known.
    pub is_unheld: bool,
    /// A close() left it open.
    pub was_closed: bool,
    /// In CLOSE: the connection ended as it should, with a FIN from either side. None where nobody saw how.
    pub both_ended: Option<bool>,
    /// Bits of `tls_now`.
    pub tls: u8,
}

impl LastSeen {
    /// As one record of a census shows them.
    pub fn of(record: &Holder) -> Self {
        Self {
            ends: Endpoints::of(record),
            state: record.state,
            recv_queue: record.rcv_nxt.wrapping_sub(record.copied_seq),
            send_queue: record.write_seq.wrapping_sub(record.snd_una),
            touched_at: record.half.touched_at,
            sent: if record.origin.touched_call == call::SEND { record.origin.touched } else { 0 },
            sk: record.sk,
            is_unheld: record.flags & holder::UNHELD != 0,
            was_closed: record.flags & holder::CLOSED != 0,
            listener: if record.flags & holder::QUEUED != 0 { record.file } else { 0 },
            both_ended: (record.flags & holder::HALF != 0).then_some(record.half.flags & half::BOTH_ENDED != 0),
            tls: record.tls,
        }
    }
}
