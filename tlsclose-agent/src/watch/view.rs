//! What a report is made from: the accounts, and all that had to be asked for beside them.

use std::collections::BTreeMap;

use tlsclose_core::{
    closes::{aborts::AbortAccounts, tls::TlsAccounts},
    leaks::{
        accept_queues::AcceptQueues,
        fd_exhaustion::EmfileAccounts,
        half_open::HalfOpen,
        sites::{SiteKey, Sites},
    },
    model::{CloseResult, CommonPath, Container, Loss, Moment, ProcessId, Touch, Workload},
};

use super::{census_log::CensusLog, spinning_now::SpinningNow};
use crate::{
    api::{BadCloses, BlockedThread, ClosedElsewhere, Feature, MapUse},
    attribution::process::{Identity, Vitals},
    host::{Sockstat, facts::HostFact, neighbours::Conntrack},
    kernel::{counters::Counters, runs::Run},
};

/// All that the watch knows after a census. Nothing here asks anybody anything: the same view gives the same report.
pub struct View<'a> {
    pub now: Moment,
    pub generated_at: jiff::Timestamp,
    pub log: &'a CensusLog,
    pub sites: &'a Sites,
    pub queues: &'a AcceptQueues,
    pub half_open: &'a HalfOpen,
    pub aborts: &'a AbortAccounts,
    pub tls: &'a TlsAccounts,
    pub emfile: &'a EmfileAccounts,
    pub spinning: &'a SpinningNow,
    /// Half-closed sockets of processes that the configuration ignores.
    pub ignored: u64,
    pub kernel: KernelFacts,
    pub host: HostFacts<'a>,
    /// Who is named anywhere, as far as it is known.
    pub processes: BTreeMap<ProcessId, KnownProcess>,
    /// The state of those that hold lingering sockets.
    pub holders: BTreeMap<ProcessId, HolderState>,
    /// The labels of the gauges of those that have any.
    pub labels: BTreeMap<ProcessId, Workload>,
    /// Of each site with lingering sockets.
    pub evidence: BTreeMap<SiteKey, Evidence>,
    /// Where half-open connections were opened, by the key of the stack and the call.
    pub openings: BTreeMap<(u64, u8), Touch>,
}

/// What the kernel side says of itself.
#[derive(Default)]
pub struct KernelFacts {
    pub counters: Counters,
    /// What was lost on this side.
    pub lost: Vec<(Loss, u64)>,
    pub close_calls: Vec<(CloseResult, u64)>,
    pub runs: Vec<Run>,
    pub maps: Vec<MapUse>,
    pub features: Vec<Feature>,
    /// Every process of the host is seen.
    pub sees_all: bool,
    /// The census may look into accept queues.
    pub walks_queues: bool,
}

/// What the host says.
pub struct HostFacts<'a> {
    pub name: String,
    pub kernel: String,
    pub facts: &'a [HostFact],
    pub sockstat: Sockstat,
    pub syncookies: u64,
    pub conntrack: Option<Conntrack>,
}

/// A process that something shown is about.
#[derive(Clone, Debug, Default)]
pub struct KnownProcess {
    pub who: Identity,
    pub container: Option<Container>,
}

/// How a process fares that holds lingering sockets.
#[derive(Clone, Debug, Default)]
pub struct HolderState {
    pub vitals: Vitals,
    /// Seconds until no descriptor is left; None while they do not become more.
    pub exhausted_in: Option<f64>,
    pub bad_closes: Option<BadCloses>,
    pub emfile_errors: u64,
}

/// What was seen around the sockets of a site.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    pub usual_close: Option<CommonPath>,
    pub closed_elsewhere: Option<ClosedElsewhere>,
    pub last_sent: Vec<CommonPath>,
    /// Threads that keep one of its examples open, by the socket's address.
    pub blocked: BTreeMap<u64, Vec<BlockedThread>>,
}
