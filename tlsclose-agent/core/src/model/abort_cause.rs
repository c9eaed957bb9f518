//! What ends a connection that no FIN ended.

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// What ended a connection instead of a FIN.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AbortCause {
    /// close() threw away data that nobody had read.
    UnreadData,
    /// close() with SO_LINGER on, and a time of 0.
    LingerZero,
    /// connect() to AF_UNSPEC.
    Disconnect,
    /// The listener was closed before anybody accepted the connection.
    ListenerClosed,
    /// close() with TCP_LINGER2 below 0.
    Linger2,
    /// close() while the host had too many orphans, or no memory for them.
    TooManyOrphans,
    /// The peer sent an RST.
    PeerReset,
    /// No answer to keepalive probes.
    KeepaliveTimeout,
    /// No acknowledgement of what was sent.
    RetransmissionTimeout,
    /// Somebody else destroyed it (`ss -K`).
    Destroyed,
    /// The peer sent more after the program had closed, or shut down both sides.
    DataAfterClose,
}

impl AbortCause {
    /// Every cause.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        Self::VARIANTS.iter().copied()
    }

    /// As in JSON and in metric labels.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_the_one_of_the_json() {
        for cause in AbortCause::all() {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.name());
        }
    }
}
