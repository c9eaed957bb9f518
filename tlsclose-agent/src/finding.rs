//! What the agent says: findings, and the snapshot of everything that outputs are made from.
//!
//! The types below *are* the JSON of `/api/v1/leaks` (schema 1). Innermost frame first.
//! Counts are sockets, ages are seconds, times are RFC 3339 in UTC.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Version of the JSON below. Fields may be added within a version.
pub const SCHEMA: u32 = 1;

/// What is wrong with a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Closed,
    /// Data moved, so the program has not forgotten it.
    Touched,
    /// It lingers still, as another kind.
    Reclassified,
    ProcessExit,
}

/// TCP states, spelled as node_exporter spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum State {
    Established = 1,
    SynSent = 2,
    SynRecv = 3,
    #[serde(rename = "fin_wait1")]
    FinWait1 = 4,
    #[serde(rename = "fin_wait2")]
    FinWait2 = 5,
    TimeWait = 6,
    Close = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
}

/// Answer of `/api/v1/leaks`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub schema: u32,
    pub host: String,
    pub kernel: String,
    pub watching_since: String,
    pub generated_at: String,
    /// Nothing was lost that could change a count.
    pub complete: bool,
    pub lost: LostTotals,
    pub census: CensusInfo,
    pub sites: Vec<Site>,
    /// Sites that hang up without a TLS goodbye.
    pub tls_sites: Vec<serde_json::Value>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostTotals {
    pub sockets: u64,
    pub stacks: u64,
    pub events: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CensusInfo {
    /// The interval in force: it stretches so that a census costs at most 1 % of a core.
    pub interval_seconds: f64,
    /// Duration of the last census.
    pub seconds: f64,
    pub tasks: u64,
    pub fds: u64,
}

/// All lingering sockets of one cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Site {
    /// 12 hexadecimal digits, `unsampled` or `~other`.
    pub site: String,
    pub kind: Kind,
    pub status: Status,
    pub spinning: Option<Spinning>,
    /// Sockets that linger now.
    pub sockets: u64,
    /// Sockets that began to linger under watch, since the agent started.
    pub lingered: u64,
    pub ended: Ended,
    /// Sockets that were half-closed before the agent started.
    pub adopted: u64,
    /// Net growth over the last 5 minutes.
    pub per_minute: f64,
    pub oldest_seconds: f64,
    /// The oldest socket is older than the agent's knowledge of it.
    pub age_is_minimum: bool,
    /// Sockets whose opening or last touch was sampled.
    pub stack_samples: u64,
    /// Build ids of the programs seen at this site (`gnu:<hex>`).
    pub builds: Vec<String>,
    pub processes: Vec<Process>,
    pub opened: Option<Touch>,
    pub touched: Option<Touch>,
    pub closed_elsewhere: Option<ClosedElsewhere>,
    pub usual_close: Option<UsualClose>,
    pub examples: Vec<Example>,
    pub why: String,
    pub fix: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub closed: u64,
    pub touched: u64,
    pub reclassified: u64,
    pub process_exit: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spinning {
    pub tid: u32,
    pub per_second: f64,
    pub stack: Vec<Frame>,
}

/// A process that holds lingering sockets of a site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    /// PID inside its own PID namespace.
    pub ns_pid: u32,
    /// Lossy UTF-8, control characters escaped.
    pub comm: String,
    pub exe: String,
    /// Only with `--show-cmdline`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<Vec<String>>,
    pub uid: u32,
    pub started_at: String,
    /// Lingering sockets of this site in this process.
    pub sockets: u64,
    pub open_fds: Option<u64>,
    pub max_fds: Option<u64>,
    pub fds_exhausted_in_seconds: Option<f64>,
    pub rss_bytes: Option<u64>,
    pub emfile_errors: u64,
    pub container: Option<Container>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Container {
    pub runtime: String,
    pub id: String,
    pub name: String,
    pub pod: String,
    pub namespace: String,
    pub image: String,
}

/// A call on a socket, and the code path that made it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Touch {
    /// `accept4`, `accept`, `connect`, `read`, `send`, `shutdown`.
    pub call: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_ago: Option<f64>,
    pub stack: Vec<Frame>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClosedElsewhere {
    pub pid: u32,
    pub comm: String,
    pub stack: Vec<Frame>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UsualClose {
    pub sockets: u64,
    pub stack: Vec<Frame>,
}

/// One frame of a code path. What is not known is null; module and offset are there
/// whenever the address belongs to a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    pub function: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
    pub module: Option<String>,
    pub build_id: Option<String>,
    /// Offset in the module's file, hexadecimal.
    pub offset: Option<String>,
    pub inlined: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// `address:port`, IPv6 in brackets, v4-mapped shown as IPv4.
    pub local: String,
    pub remote: String,
    pub state: State,
    pub age_seconds: f64,
    pub holders: Vec<HolderInfo>,
    /// Bytes not read by the program (the FIN counts as one), bytes not acknowledged by the peer.
    pub recv_queue: u32,
    pub send_queue: u32,
    pub netns: u32,
    pub tls: Option<serde_json::Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderInfo {
    pub pid: u32,
    pub comm: String,
    pub fd: u32,
}

/// Identity labels of a metric series. Empty outside a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    pub namespace: String,
    pub pod: String,
    pub container: String,
    pub comm: String,
}

/// One exported series of a site: (identity, kind, site), after `--max-sites` and `--max-series`.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteSeries {
    pub identity: Identity,
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
    pub identity: Identity,
    pub open_fds: Option<u64>,
    pub max_fds: Option<u64>,
    pub fds_exhausted_seconds: Option<f64>,
    pub emfile_errors_total: u64,
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
    /// What its absence costs, in words a user understands; empty when available.
    pub without: String,
}

/// Everything the outputs are made from, published once after each census.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub report: Report,
    pub series: Vec<SiteSeries>,
    pub site_infos: Vec<SiteInfo>,
    pub processes: Vec<ProcessSeries>,
    /// Adopted sockets by identity and kind.
    pub adopted: BTreeMap<(Identity, Kind), u64>,
    /// By state, all eleven present.
    pub sockets: BTreeMap<State, u64>,
    pub orphans: u64,
    /// Half-closed sockets of processes that the configuration ignores.
    pub ignored: u64,
    pub transitions: BTreeMap<(State, State), u64>,
    /// How long sockets stayed in close_wait and fin_wait2.
    pub half_closed_seconds: BTreeMap<State, Histogram>,
    /// By what (`sockets`, `stacks`, `events`) and reason.
    pub lost: BTreeMap<(String, String), u64>,
    pub census_duration: Histogram,
    pub programs: Vec<ProgramRuns>,
    pub maps: Vec<MapUse>,
    pub features: Vec<Feature>,
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
                lost: LostTotals::default(),
                census: CensusInfo::default(),
                sites: Vec::new(),
                tls_sites: Vec::new(),
            },
            series: Vec::new(),
            site_infos: Vec::new(),
            processes: Vec::new(),
            adopted: BTreeMap::new(),
            sockets: BTreeMap::new(),
            orphans: 0,
            ignored: 0,
            transitions: BTreeMap::new(),
            half_closed_seconds: BTreeMap::new(),
            lost: BTreeMap::new(),
            census_duration: Histogram::default(),
            programs: Vec::new(),
            maps: Vec::new(),
            features: Vec::new(),
            ready: false,
        }
    }
}
