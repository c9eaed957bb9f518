//! Established connections whose peer may be gone, as one census shows them. Pure.

use std::{collections::BTreeMap, time::Duration};

use tlsclose_common::facts::{Holder, Silence};

use crate::model::{Endpoints, HalfOpenReason, HeldBy, ProcessId, Ticks};

/// Retransmissions of the same data after which the kernel itself suspects the way to the peer
/// (RFC 9293, section 3.8.3; `tcp_retries1`).
const RETRANSMISSIONS: u32 = 3;
/// The second probe is sent because the first was not answered.
const PROBES: u32 = 2;
/// Connections kept of one census; the others are only counted.
const KEPT: usize = 10_000;

/// A connection whose peer may be gone.
#[derive(Clone, Debug)]
pub struct Suspect {
    /// Why it is suspect.
    pub reason: HalfOpenReason,
    /// What the peer has left unanswered.
    pub silence: Silence,
    /// The first descriptor that the census met it at.
    pub holder: HeldBy,
    /// Key of the stack that opened it, 0 when it was not sampled.
    pub opened: u64,
    /// The call that opened it, as in `tlsclose_common::facts::call`.
    pub opened_call: u8,
    /// Our address and the peer's.
    pub ends: Endpoints,
    /// Bytes that the peer has not acknowledged.
    pub send_queue: u32,
    /// Since the peer was last heard.
    pub silent: Duration,
}

/// All of them, by address of the socket.
#[derive(Debug, Default)]
pub struct HalfOpen {
    suspects: BTreeMap<u64, Suspect>,
    /// Records that did not fit, of all censuses.
    pub unkept: u64,
    ticks: Ticks,
}

impl HalfOpen {
    /// Starts a census.
    pub fn begin(&mut self, ticks: Ticks) {
        self.suspects.clear();
        self.ticks = ticks;
    }

    /// Takes in one record, if it is of a connection whose peer may be gone.
    pub fn observe(&mut self, record: &Holder) {
        let Some(silence) = record.silence() else { return };
        let Some(reason) = reason(silence) else { return };
        if self.suspects.len() >= KEPT && !self.suspects.contains_key(&record.sk) {
            self.unkept += 1;
            return;
        }
        let silent = self.age_of(record.rcv_tstamp);
        self.suspects.entry(record.sk).or_insert_with(|| Suspect {
            reason,
            silence,
            holder: HeldBy { process: ProcessId { tgid: record.tgid, started_at: record.started_at }, fd: record.fd },
            opened: record.origin.opened,
            opened_call: record.origin.opened_call,
            ends: Endpoints::of(record),
            send_queue: record.write_seq.wrapping_sub(record.snd_una),
            silent,
        });
    }

    fn age_of(&self, jiffies: u32) -> Duration {
        let ticks = (self.ticks.jiffies as u32).wrapping_sub(jiffies).cast_signed().max(0);
        let seconds = f64::from(ticks) / self.ticks.per_second.max(1) as f64;
        Duration::from_secs_f64(seconds)
    }

    /// Every suspect connection, by the kernel address of its socket.
    pub fn iter(&self) -> impl Iterator<Item = &Suspect> {
        self.suspects.values()
    }
}

/// What the peer owes an answer to; none while it may only be slow.
fn reason(silence: Silence) -> Option<HalfOpenReason> {
    match silence {
        Silence { retransmissions: RETRANSMISSIONS.., .. } => Some(HalfOpenReason::Unacknowledged),
        Silence { probes: PROBES.., .. } => Some(HalfOpenReason::ProbesUnanswered),
        Silence { is_idle: true, .. } => Some(HalfOpenReason::Idle),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tlsclose_common::facts::state;

    use super::*;

    fn record(sk: u64, retransmissions: u32, probes: u32, is_idle: bool) -> Holder {
        let mut record = Holder { sk, tgid: 7, state: state::ESTABLISHED, rcv_tstamp: 500, ..Holder::default() };
        record.set_silence(Silence { retransmissions, probes, is_idle });
        record
    }

    #[test]
    fn a_peer_is_suspect_when_it_leaves_something_unanswered_more_than_once() {
        let cases = [
            ((0, 0, false), None),
            ((2, 1, false), None),
            ((3, 0, false), Some(HalfOpenReason::Unacknowledged)),
            ((9, 9, true), Some(HalfOpenReason::Unacknowledged)),
            ((0, 2, false), Some(HalfOpenReason::ProbesUnanswered)),
            ((0, 0, true), Some(HalfOpenReason::Idle)),
            ((1, 0, true), Some(HalfOpenReason::Idle)),
        ];
        for ((retransmissions, probes, is_idle), expected) in cases {
            let mut half_open = HalfOpen::default();
            half_open.begin(Ticks { jiffies: 1500, per_second: 250 });
            half_open.observe(&record(1, retransmissions, probes, is_idle));
            let found = half_open.iter().next();
            assert_eq!(found.map(|suspect| suspect.reason), expected, "{retransmissions} {probes} {is_idle}");
            assert!(found.is_none_or(|suspect| suspect.silent == Duration::from_secs(4)));
        }
    }

    #[test]
    fn other_states_and_what_the_last_census_showed_do_not_count() {
        let mut half_open = HalfOpen::default();
        half_open.begin(Ticks::default());
        half_open.observe(&record(1, 5, 0, false));
        half_open.observe(&record(1, 5, 0, false));
        assert_eq!(half_open.iter().count(), 1);
        half_open.begin(Ticks::default());
        half_open.observe(&Holder { state: state::CLOSE_WAIT, ..record(1, 5, 0, false) });
        assert_eq!(half_open.iter().count(), 0);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_rest_is_counted() {
        let mut half_open = HalfOpen::default();
        half_open.begin(Ticks::default());
        (0..KEPT as u64 + 5).for_each(|sk| half_open.observe(&record(sk, 5, 0, false)));
        assert_eq!((half_open.iter().count(), half_open.unkept), (KEPT, 5));
    }
}
