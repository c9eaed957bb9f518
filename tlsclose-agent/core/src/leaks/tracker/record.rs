//! What one record of a census says of its socket.

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use rustc_hash::FxHasher;
use tlsclose_common::facts::{Holder, call, half, holder, state};

use crate::model::{Kind, Moment, Ticks};

/// What is wrong with the socket, if anything can be.
pub fn classify(record: &Holder) -> Option<Kind> {
    match record.state {
        state::CLOSE_WAIT if record.flags & holder::QUEUED != 0 => Some(Kind::CloseWaitNotAccepted),
        state::CLOSE_WAIT if record.flags & holder::CLOSED_LAST != 0 => Some(Kind::CloseWaitSharedFd),
        state::CLOSE_WAIT if record.copied_seq == record.rcv_nxt => Some(Kind::CloseWaitEofRead),
        state::CLOSE_WAIT => Some(Kind::CloseWaitUnread),
        state::FIN_WAIT2 => Some(Kind::FinWait2Held),
        state::CLOSE if record.remote_port == 0 => None,
        state::CLOSE if record.half.flags & half::CONNECT_FAILED != 0 => Some(Kind::ConnectFailedHeld),
        state::CLOSE => Some(Kind::ResetHeld),
        _ => None,
    }
}

/// The last touch that tells a kind's story.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastTouch {
    /// Key of its stack; 0 where none was taken.
    pub stack: u64,
    /// By which call (`tlsclose_common::facts::call`).
    pub call: u8,
    /// It returned 0: the end of the stream.
    pub read_the_end: bool,
}

/// The read that returned 0, or the shutdown. Where nobody read the end, the last ordinary read or
/// send, which is sampled for armed processes only: it is shown, but makes no site of its own. Of a
/// connection in an accept queue, the last call that accepted another one.
pub fn touched(record: &Holder) -> LastTouch {
    let (half, origin) = (&record.half, &record.origin);
    let ordinary = LastTouch { stack: origin.touched, call: origin.touched_call, read_the_end: false };
    if record.flags & holder::QUEUED != 0 {
        return ordinary;
    }
    let wanted = match record.state {
        state::FIN_WAIT2 => call::SHUTDOWN,
        state::CLOSE_WAIT => call::READ,
        _ => half.touched_call,
    };
    if half.touched != 0 && half.touched_call == wanted {
        return LastTouch {
            stack: half.touched,
            call: half.touched_call,
            read_the_end: half.touched_call == call::READ,
        };
    }
    let unread = record.state == state::CLOSE_WAIT && record.copied_seq != record.rcv_nxt;
    if unread { ordinary } else { LastTouch::default() }
}

/// When the socket's clock started: when the kernel side saw it half-close. For sockets that are
/// `older` than the agent, when they last sent or received anything, which is a lower bound of
/// their age; others that the kernel side knows nothing of are young: they are being closed, or
/// did not fit into its map.
pub fn clock_of(record: &Holder, now: Moment, ticks: Ticks, older: bool) -> (Moment, bool) {
    if record.flags & holder::HALF != 0 && record.half.since != 0 {
        return (Moment(record.half.since), false);
    }
    let moved = [record.lsndtime, record.rcv_tstamp];
    // A stamp may be younger than the look at the clock: that is no age, not 2^32 ticks.
    let idle_since = |at: u32| (ticks.jiffies as u32).wrapping_sub(at).cast_signed().max(0);
    let idle = moved.into_iter().filter(|at| *at != 0).map(idle_since).min();
    let Some(idle) = idle.filter(|_| older && ticks.per_second != 0) else { return (now, true) };
    (now.minus(Duration::from_secs_f64(f64::from(idle) / ticks.per_second as f64)), true)
}

/// Folds everything that a socket's state is made from.
pub fn fingerprint(record: &Holder) -> u64 {
    let mut hash = FxHasher::default();
    record.local.hash(&mut hash);
    record.remote.hash(&mut hash);
    let ports = u64::from(record.local_port) << 16 | u64::from(record.remote_port);
    let (half, origin) = (&record.half, &record.origin);
    let flags = u64::from(record.state) | u64::from(record.flags) << 8 | u64::from(half.flags) << 16;
    for word in [
        u64::from(record.write_seq) << 32 | u64::from(record.snd_una),
        u64::from(record.copied_seq) << 32 | u64::from(record.rcv_nxt),
        ports << 32 | u64::from(record.netns),
        u64::from(record.tgid) << 32 | u64::from(record.fd),
        flags << 16 | u64::from(half.touched_call) << 8 | u64::from(origin.opened_call),
        record.started_at,
        half.since,
        half.touched,
        origin.opened,
        origin.touched,
    ] {
        hash.write_u64(word);
    }
    hash.finish()
}

pub fn sequences(record: &Holder) -> [u32; 4] {
    [record.write_seq, record.snd_una, record.copied_seq, record.rcv_nxt]
}

#[cfg(test)]
mod tests {
    use tlsclose_common::facts::{HalfClosed, Origin};

    use super::*;

    #[test]
    fn only_the_read_of_the_end_is_said_to_have_returned_0() {
        let origin = Origin { touched: 7, touched_call: call::READ, ..Origin::default() };
        let half = HalfClosed { touched: 9, touched_call: call::READ, ..HalfClosed::NEW };
        let all_read = Holder { state: state::CLOSE_WAIT, origin, half, ..Holder::default() };
        let end = LastTouch { stack: 9, call: call::READ, read_the_end: true };
        assert_eq!(touched(&all_read), end);
        // The last read returned bytes, and some are left.
        let unread = Holder { rcv_nxt: 5, half: HalfClosed::NEW, ..all_read };
        assert_eq!(touched(&unread), LastTouch { stack: 7, call: call::READ, read_the_end: false });
        let half = HalfClosed { touched: 9, touched_call: call::SHUTDOWN, ..HalfClosed::NEW };
        let shut = Holder { state: state::FIN_WAIT2, half, ..all_read };
        assert_eq!(touched(&shut), LastTouch { stack: 9, call: call::SHUTDOWN, read_the_end: false });
        assert_eq!(touched(&Holder { half: HalfClosed::NEW, ..all_read }), LastTouch::default());
    }
}
