//! What is said about established connections whose peer may be gone: `half_open_sites`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use tlsclose_core::model::{Container, HalfOpenReason, Kind, Touch};

use super::holder_info::HolderInfo;

/// A code path that opened connections whose peer may be gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HalfOpenSite {
    /// 12 hexadecimal digits, or `unsampled`.
    pub site: String,
    /// Always `half_open`.
    pub kind: Kind,
    pub comm: String,
    pub exe: String,
    /// Now.
    pub sockets: u64,
    pub reasons: BTreeMap<HalfOpenReason, u64>,
    /// Those with the most first.
    pub processes: Vec<HalfOpenProcess>,
    /// Where they were opened; null where that was not sampled.
    pub opened: Option<Touch>,
    pub examples: Vec<HalfOpenExample>,
    pub why: String,
    pub fix: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HalfOpenProcess {
    pub pid: u32,
    pub comm: String,
    pub exe: String,
    pub started_at: String,
    pub sockets: u64,
    pub container: Option<Container>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HalfOpenExample {
    pub local: String,
    pub remote: String,
    pub reason: HalfOpenReason,
    /// Since the peer was last heard.
    pub silent_seconds: f64,
    pub retransmissions: u32,
    pub probes: u32,
    /// Bytes that the peer has not acknowledged.
    pub send_queue: u32,
    pub holder: HolderInfo,
    pub netns: u32,
}
