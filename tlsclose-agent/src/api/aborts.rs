//! What is said about connections that ended by a reset or an error: `aborted_sites`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use tlsclose_core::model::{AbortCause, Container, Kind, Touch};

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
