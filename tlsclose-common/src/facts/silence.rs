//! Peers that do not answer, as records of the census.

use super::{holders::Holder, state};

/// What an established connection waits for. It travels in fields of a [`Holder`] that tell of
/// half-closed sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Silence {
    /// Retransmissions since the peer last acknowledged anything (`icsk_retransmits`).
    pub retransmissions: u32,
    /// Probes, of keepalive or of a closed window, since it last sent anything (`icsk_probes_out`).
    pub probes: u32,
    /// Nothing came or went for as long as the agent has asked for, and keepalive is off.
    pub is_idle: bool,
}

impl Silence {
    /// Nothing to tell.
    pub const NONE: Self = Self { retransmissions: 0, probes: 0, is_idle: false };
}

impl Holder {
    /// Of an established connection with something to tell.
    pub fn silence(&self) -> Option<Silence> {
        let half = &self.half;
        let silence = Silence { retransmissions: half.eof_reads, probes: half.tgid, is_idle: half.touched_call != 0 };
        (self.state == state::ESTABLISHED && silence != Silence::NONE).then_some(silence)
    }

    /// The reverse of [`Holder::silence`].
    pub fn set_silence(&mut self, silence: Silence) {
        self.half.eof_reads = silence.retransmissions;
        self.half.tgid = silence.probes;
        self.half.touched_call = u8::from(silence.is_idle);
    }
}
