//! Everything that outputs are made from, as one census left it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use tlsclose_core::{
    closes::{aborts::AbortSeries, tls::TlsProgram},
    model::{CloseResult, Ended, HalfOpenReason, Kind, Loss, State, Workload},
};

use super::leaks::{CensusInfo, LostTotals, Report, SCHEMA};
use crate::host::{facts::HostFact, neighbours::Conntrack};

/// One exported series of a site: (identity, kind, site), after `--max-sites` and `--max-series`.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteSeries {
    pub identity: Workload,
    pub kind: Kind,
    /// Site label: a site, `unsampled` or `~other`.
    pub site: String,
    pub lingering: u64,
    /// `lingering` where the site's status is leaking, else 0.
    pub leaking: u64,
    pub lingered_total: u64,
    pub ended_total: Ended,
    pub oldest_seconds: f64,
}

/// Frozen labels of `tlsclose_site_info`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SiteInfo {
    pub site: String,
    pub kind: Kind,
    pub exe: String,
    /// `function (file:line)`, empty when not known.
    pub opened: String,
    pub touched: String,
}

/// The worst process of a workload with a lingering socket.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessSeries {
    pub identity: Workload,
    pub open_fds: Option<u64>,
    pub max_fds: Option<u64>,
    pub fds_exhausted_seconds: Option<f64>,
    pub emfile_errors_total: u64,
}

/// The fullest accept queue of a workload: connections in it, and how many fit; and how many are on
/// their way into any of its queues.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueSeries {
    pub identity: Workload,
    pub length: u64,
    pub limit: u64,
    pub syn_recv: u64,
}

/// Connections of a workload whose peer may be gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HalfOpenSeries {
    pub identity: Workload,
    pub reason: HalfOpenReason,
    pub sockets: u64,
}

/// Cumulative histogram: upper bounds in seconds with the number of observations at or below each
/// (the last bound is infinity), and the sum of all observations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    pub buckets: Vec<(f64, u64)>,
    pub sum: f64,
}

/// What happened to a BPF program, from the kernel's bpf statistics.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgramRuns {
    pub program: String,
    pub seconds: f64,
    pub runs: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapUse {
    pub map: String,
    pub entries: u64,
    pub max_entries: u64,
}

/// A feature of the host, as `tlsclose doctor` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// Stable name, used as a metric label: `eof_stacks`, `accept_stacks`, …
    pub name: String,
    pub available: bool,
    /// How it was probed and what was found.
    pub probe: String,
    /// What of the kernel it takes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub needs: String,
    /// What does the same where that is missing, with losses or at a price; empty where nothing does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fallback: String,
    /// What its absence costs, in words a user understands; empty when available.
    pub without: String,
}

/// Everything the outputs are made from, published once after each census.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub report: Report,
    pub series: Vec<SiteSeries>,
    pub site_infos: Vec<SiteInfo>,
    pub tls_closes: Vec<TlsProgram>,
    pub processes: Vec<ProcessSeries>,
    pub accept_queues: Vec<QueueSeries>,
    /// Calls of close() by processes with TCP sockets.
    pub close_calls: Vec<(CloseResult, u64)>,
    pub aborts: Vec<AbortSeries>,
    pub half_open: Vec<HalfOpenSeries>,
    /// Sockets that a thread spins around, by workload: each that has a lingering socket.
    pub spinning: BTreeMap<Workload, u64>,
    /// Half-closed sockets that a file holds and no descriptor table shows.
    pub unheld: u64,
    /// Adopted sockets by identity and kind.
    pub adopted: BTreeMap<(Workload, Kind), u64>,
    /// By state, all eleven present.
    pub sockets: BTreeMap<State, u64>,
    pub orphans: u64,
    /// SYN cookies sent since the agent started.
    pub syncookies: u64,
    /// None where connections are not tracked.
    pub conntrack: Option<Conntrack>,
    /// Half-closed sockets of processes that the configuration ignores.
    pub ignored: u64,
    pub transitions: BTreeMap<(State, State), u64>,
    /// How long sockets stayed in close_wait and fin_wait2.
    pub half_closed_seconds: BTreeMap<State, Histogram>,
    /// A reason that is not there lost nothing.
    pub lost: BTreeMap<Loss, u64>,
    pub census_duration: Histogram,
    pub programs: Vec<ProgramRuns>,
    pub maps: Vec<MapUse>,
    pub features: Vec<Feature>,
    pub host: Vec<HostFact>,
    /// A first census is done.
    pub ready: bool,
}

impl Snapshot {
    /// What there is to say before anything was looked at.
    pub fn before_first_census() -> Self {
        Self {
            report: Report {
                schema: SCHEMA,
                host: String::new(),
                kernel: String::new(),
                watching_since: String::new(),
                generated_at: String::new(),
                complete: true,
                incomplete: Vec::new(),
                lost: LostTotals::default(),
                census: CensusInfo::default(),
                sites: Vec::new(),
                tls_sites: Vec::new(),
                aborted_sites: Vec::new(),
                half_open_sites: Vec::new(),
            },
            series: Vec::new(),
            site_infos: Vec::new(),
            tls_closes: Vec::new(),
            processes: Vec::new(),
            accept_queues: Vec::new(),
            close_calls: Vec::new(),
            aborts: Vec::new(),
            half_open: Vec::new(),
            spinning: BTreeMap::new(),
            unheld: 0,
            adopted: BTreeMap::new(),
            sockets: BTreeMap::new(),
            orphans: 0,
            syncookies: 0,
            conntrack: None,
            ignored: 0,
            transitions: BTreeMap::new(),
            half_closed_seconds: BTreeMap::new(),
            lost: BTreeMap::new(),
            census_duration: Histogram::default(),
            programs: Vec::new(),
            maps: Vec::new(),
            features: Vec::new(),
            host: Vec::new(),
            ready: false,
        }
    }
}
