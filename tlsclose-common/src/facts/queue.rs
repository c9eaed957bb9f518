//! Accept queues, as records of the census.

use super::holders::{Holder, holder};

/// What the census saw of a listener's accept queue. It travels in the fields of a [`Holder`]
/// that a listener has no use for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AcceptQueue {
    /// Children in the queue (`sk_ack_backlog`).
    pub length: u32,
    /// How many fit: one more than this (`sk_max_ack_backlog`).
    pub limit: u32,
    /// Children that the census looked at.
    pub walked: u32,
    /// Those of them whose peer has given up: CLOSE_WAIT.
    pub half_closed: u32,
    /// Connections that are not established yet: SYN_RECV. They are not in the queue.
    pub requests: u32,
    /// Those of them whose SYN-ACK was sent once so far.
    pub young: u32,
}

impl Holder {
    /// Of a listener with children in its queue, or with some to come.
    pub fn accept_queue(&self) -> Option<AcceptQueue> {
        (self.flags & holder::QUEUE != 0).then_some(AcceptQueue {
            length: self.write_seq,
            limit: self.snd_una,
            walked: self.copied_seq,
            half_closed: self.rcv_nxt,
            requests: self.lsndtime,
            young: self.rcv_tstamp,
        })
    }

    /// The reverse of [`Holder::accept_queue`].
    pub fn set_accept_queue(&mut self, queue: AcceptQueue) {
        self.flags |= holder::QUEUE;
        self.write_seq = queue.length;
        self.snd_una = queue.limit;
        self.copied_seq = queue.walked;
        self.rcv_nxt = queue.half_closed;
        self.lsndtime = queue.requests;
        self.rcv_tstamp = queue.young;
    }
}
