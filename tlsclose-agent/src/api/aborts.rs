//! What is said about connections that ended by a reset or an error: `aborted_sites`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Container, Kind, Touch};

/// What ended a connection instead of a FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// A code path that closed connections which did not end by a FIN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AbortSite {
    /// 12 hexadecimal digits, `unsampled` or `~other`.
    pub site: String,
    /// Always `aborted_close`.
    pub kind: Kind,
    pub comm: String,
    pub exe: String,
    /// Since the agent started.
    pub aborted: u64,
    pub causes: BTreeMap<AbortCause, u64>,
    /// Over the last five minutes.
    pub per_minute: f64,
    /// Processes that are alive, the busiest first.
    pub processes: Vec<AbortProcess>,
    /// Where it closed them; null where no stack was sampled.
    pub closed: Option<Touch>,
    pub why: String,
    pub fix: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AbortProcess {
    pub pid: u32,
    pub comm: String,
    pub exe: String,
    pub started_at: String,
    pub aborted: u64,
    pub container: Option<Container>,
}
