//! What is said about TLS: in `tls_sites`, and in the examples of leaks.

use serde::{Deserialize, Serialize};

use tlsclose_core::model::{Container, Kind, TlsOutcomes, Touch};

/// A code path that closes TLS connections, some of them without a goodbye.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TlsSite {
    /// 12 hexadecimal digits, `unsampled` or `~other`.
    pub site: String,
    /// Always `tls_truncated`.
    pub kind: Kind,
    pub comm: String,
    pub exe: String,
    /// Closes by this code path, since the agent started.
    pub closes: u64,
    /// How our direction ended in them.
    pub outcomes: TlsOutcomes,
    /// Truncated closes where the peer's FIN had arrived before ours was sent: it hung up first.
    #[serde(default)]
    pub peer_first: u64,
    /// Truncated closes that the kernel made because the process ended.
    pub process_exit: u64,
    /// Truncated closes within a second after the program had sent data, and none had come since.
    pub after_data: u64,
    /// Truncated closes per minute, over the last five.
    pub per_minute: f64,
    /// Truncated closes among all of this code path, 0 to 1.
    pub share: f64,
    /// Processes that are alive, the busiest first.
    pub processes: Vec<TlsProcess>,
    /// Where it closes; null where no stack was sampled.
    pub closed: Option<Touch>,
    pub why: String,
    pub fix: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TlsProcess {
    pub pid: u32,
    pub comm: String,
    pub exe: String,
    pub started_at: String,
    pub closes: u64,
    pub truncated: u64,
    pub container: Option<Container>,
}

/// How the goodbye stands on a half-closed socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsStanding {
    /// What we sent.
    pub local: Goodbye,
    /// What the peer sent, as far as it was read.
    pub remote: Goodbye,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goodbye {
    /// The last record was a `close_notify`.
    Said,
    NotSaid,
    Unknown,
}
