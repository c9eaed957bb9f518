//! What is wrong with sockets, how sure that is, and how it ends.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// What is wrong with a socket.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    /// CLOSE_WAIT, and the peer's FIN was consumed.
    CloseWaitEofRead,
    /// CLOSE_WAIT, and nobody read the FIN.
    CloseWaitUnread,
    /// FIN_WAIT_2 that a file holds: no kernel timer ends it.
    FinWait2Held,
    /// CLOSE after having been connected, and a file still holds it.
    ResetHeld,
    /// CLOSE after a connect() that failed, and a file still holds it.
    ConnectFailedHeld,
    /// CLOSE_WAIT in an accept queue: the peer gave up before anybody accepted.
    CloseWaitNotAccepted,
    /// CLOSE_WAIT after a close() that left it open, because something else holds the file.
    CloseWaitSharedFd,
    /// Not held, but closed: connections that ended by a reset or an error. Never lingers or leaks.
    AbortedClose,
    /// Established, and the peer may be gone. Never lingers or leaks.
    HalfOpen,
    /// A TLS connection closed without a goodbye: a fact about a code path, not a leak.
    TlsTruncated,
}

impl Kind {
    /// Every kind, in the order the documentation explains them.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        Self::VARIANTS.iter().copied()
    }

    /// The name in JSON, in metric labels and on the command line.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Sockets of this kind have always been touched in a way that says where the program learned of
    /// the end. For the others the touch is shown where it is known, but does not make a site.
    pub fn touch_tells(self) -> bool {
        matches!(self, Self::CloseWaitEofRead | Self::FinWait2Held)
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
        Self::all().find(|kind| kind.name() == text).ok_or_else(|| {
            let known: Vec<&str> = Self::all().map(Kind::name).collect();
            format!("unknown kind: the kinds are {}", known.join(", "))
        })
    }
}

/// How sure we are that it is a leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Sockets stay untouched for longer than `--leak-after`, but they are few, bounded or come and go.
    Lingering,
    /// They keep growing, or fill the process's descriptors.
    Leaking,
}

/// How a lingering socket stopped lingering.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum End {
    /// The program closed it.
    Closed,
    /// Data moved, so the program has not forgotten it.
    Touched,
    /// It lingers still, as another kind.
    Reclassified,
    /// Its process ended.
    ProcessExit,
}

impl End {
    /// Every way.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        Self::VARIANTS.iter().copied()
    }

    /// As in JSON and in metric labels.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Sockets that stopped lingering, by how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// As in [`End::Closed`].
    pub closed: u64,
    /// As in [`End::Touched`].
    pub touched: u64,
    /// As in [`End::Reclassified`].
    pub reclassified: u64,
    /// As in [`End::ProcessExit`].
    pub process_exit: u64,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_the_one_of_the_json() {
        for kind in Kind::all() {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }

    #[test]
    fn a_kind_is_read_as_it_is_written() {
        for kind in Kind::all() {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert_eq!(
            "close_wait".parse::<Kind>().unwrap_err(),
            "unknown kind: the kinds are close_wait_eof_read, close_wait_unread, fin_wait2_held, \
             reset_held, connect_failed_held, close_wait_not_accepted, close_wait_shared_fd, aborted_close, half_open, tls_truncated"
        );
    }

    #[test]
    fn every_end_has_the_name_of_the_json() {
        for end in End::all() {
            assert_eq!(serde_json::to_value(end).unwrap(), end.name());
        }
    }
}
