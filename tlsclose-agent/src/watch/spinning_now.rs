//! What spins around connections that are over.

use std::collections::BTreeMap;

use tlsclose_core::{leaks::sites::SiteKey, model::Workload};

use crate::api::Spinning;

/// What spins, after one census.
#[derive(Debug, Default)]
pub struct SpinningNow {
    /// The fastest of each site.
    pub sites: BTreeMap<SiteKey, Spinning>,
    /// Sockets that something spins around, by workload: each that has a lingering one.
    pub sockets: BTreeMap<Workload, u64>,
}
