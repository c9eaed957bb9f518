//! How kinds, states and verdicts are spelled, wherever they are shown or read.

use std::fmt;
use std::str::FromStr;

use crate::finding::{AbortCause, CloseResult, End, Ended, HalfOpenReason, Kind, State, TlsOutcome};

impl Kind {
    /// Every kind, in the order the documentation explains them.
    pub const ALL: [Self; 10] = [
        Self::CloseWaitEofRead,
        Self::CloseWaitUnread,
        Self::FinWait2Held,
        Self::ResetHeld,
        Self::ConnectFailedHeld,
        Self::CloseWaitNotAccepted,
        Self::CloseWaitSharedFd,
        Self::AbortedClose,
        Self::HalfOpen,
        Self::TlsTruncated,
    ];

    /// The name in JSON, in metric labels and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::CloseWaitEofRead => "close_wait_eof_read",
            Self::CloseWaitUnread => "close_wait_unread",
            Self::FinWait2Held => "fin_wait2_held",
            Self::ResetHeld => "reset_held",
            Self::ConnectFailedHeld => "connect_failed_held",
            Self::CloseWaitNotAccepted => "close_wait_not_accepted",
            Self::CloseWaitSharedFd => "close_wait_shared_fd",
            Self::AbortedClose => "aborted_close",
            Self::HalfOpen => "half_open",
            Self::TlsTruncated => "tls_truncated",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    /// The error is one line that lists every kind.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("unknown kind: the kinds are {known}")
        })
    }
}

impl End {
    pub const ALL: [Self; 4] = [Self::Closed, Self::Touched, Self::Reclassified, Self::ProcessExit];

    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Touched => "touched",
            Self::Reclassified => "reclassified",
            Self::ProcessExit => "process_exit",
        }
    }
}

impl Ended {
    /// How many sockets ended in this way.
    pub fn of(&self, how: End) -> u64 {
        match how {
            End::Closed => self.closed,
            End::Touched => self.touched,
            End::Reclassified => self.reclassified,
            End::ProcessExit => self.process_exit,
        }
    }
}

impl AbortCause {
    pub const ALL: [Self; 11] = [
        Self::UnreadData,
        Self::LingerZero,
        Self::Disconnect,
        Self::ListenerClosed,
        Self::Linger2,
        Self::TooManyOrphans,
        Self::PeerReset,
        Self::KeepaliveTimeout,
        Self::RetransmissionTimeout,
        Self::Destroyed,
        Self::DataAfterClose,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::UnreadData => "unread_data",
            Self::LingerZero => "linger_zero",
            Self::Disconnect => "disconnect",
            Self::ListenerClosed => "listener_closed",
            Self::Linger2 => "linger2",
            Self::TooManyOrphans => "too_many_orphans",
            Self::PeerReset => "peer_reset",
            Self::KeepaliveTimeout => "keepalive_timeout",
            Self::RetransmissionTimeout => "retransmission_timeout",
            Self::Destroyed => "destroyed",
            Self::DataAfterClose => "data_after_close",
        }
    }
}

impl HalfOpenReason {
    pub const ALL: [Self; 3] = [Self::Unacknowledged, Self::ProbesUnanswered, Self::Idle];

    pub fn name(self) -> &'static str {
        match self {
            Self::Unacknowledged => "unacknowledged",
            Self::ProbesUnanswered => "probes_unanswered",
            Self::Idle => "idle",
        }
    }
}

impl CloseResult {
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::StillHeld => "still_held",
            Self::BadFd => "bad_fd",
        }
    }
}

impl TlsOutcome {
    pub const ALL: [Self; 5] = [Self::Clean, Self::Truncated, Self::Unanswered, Self::Aborted, Self::Unknown];

    pub fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Truncated => "truncated",
            Self::Unanswered => "unanswered",
            Self::Aborted => "aborted",
            Self::Unknown => "unknown",
        }
    }
}

impl State {
    /// Every state, in the kernel's order (`include/net/tcp_states.h`).
    pub const ALL: [Self; 11] = [
        Self::Established,
        Self::SynSent,
        Self::SynRecv,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
    ];

    /// As node_exporter spells it; the JSON and every metric label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::SynSent => "syn_sent",
            Self::SynRecv => "syn_recv",
            Self::FinWait1 => "fin_wait1",
            Self::FinWait2 => "fin_wait2",
            Self::TimeWait => "time_wait",
            Self::Close => "close",
            Self::CloseWait => "close_wait",
            Self::LastAck => "last_ack",
            Self::Listen => "listen",
            Self::Closing => "closing",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_the_one_of_the_json() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        for state in State::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        for cause in AbortCause::ALL {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.name());
        }
        for reason in HalfOpenReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
        for outcome in TlsOutcome::ALL {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.name());
        }
        for end in End::ALL {
            assert_eq!(serde_json::to_value(end).unwrap(), end.name());
        }
    }

    #[test]
    fn states_are_in_the_kernels_order() {
        for (at, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, at + 1);
        }
    }

    #[test]
    fn an_unknown_kind_is_answered_with_the_known_ones() {
        assert_eq!(
            "close_wait".parse::<Kind>().unwrap_err(),
            "unknown kind: the kinds are close_wait_eof_read, close_wait_unread, fin_wait2_held, \
             reset_held, connect_failed_held, close_wait_not_accepted, close_wait_shared_fd, aborted_close, half_open, tls_truncated"
        );
    }
}
