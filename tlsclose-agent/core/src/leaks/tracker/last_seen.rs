//! The facts of a socket as a census last showed them.

use tlsclose_common::facts::{Holder, call, half, holder};

use crate::model::Endpoints;

/// What an example of a finding shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastSeen {
    pub ends: Endpoints,
    pub state: u8,
    pub recv_queue: u32,
    pub send_queue: u32,
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
