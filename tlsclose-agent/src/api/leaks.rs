//! Leaking sites, and what a census was like.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tlsclose_core::model::{CommonPath, Container, Death, Ended, Frame, Kind, State, Status, Touch};

use super::{
    aborts::AbortSite,
    half_open::HalfOpenSite,
    holder_info::HolderInfo,
    spinning::Spinning,
    tls::{TlsSite, TlsStanding},
};

/// Version of the JSON below. Fields may be added within a version.
pub const SCHEMA: u32 = 1;

/// Answer of `/api/v1/leaks`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub schema: u32,
    pub host: String,
    pub kernel: String,
    pub watching_since: String,
    pub generated_at: String,
    /// Nothing was lost that could change a count, and all processes of the host are seen.
    pub complete: bool,
    /// Why it is not complete.
    #[serde(default)]
    pub incomplete: Vec<Incomplete>,
    pub lost: LostTotals,
    pub census: CensusInfo,
    pub sites: Vec<Site>,
    /// Sites that hang up without a TLS goodbye.
    pub tls_sites: Vec<TlsSite>,
    /// Code paths whose connections did not end by a FIN.
    #[serde(default)]
    pub aborted_sites: Vec<AbortSite>,
    /// Code paths that opened connections whose peer may be gone.
    #[serde(default)]
    pub half_open_sites: Vec<HalfOpenSite>,
}

impl Report {
    /// The sites of all lists.
    pub fn site_names(&self) -> BTreeSet<&str> {
        let leaks = self.sites.iter().map(|site| &*site.site);
        let aborted = self.aborted_sites.iter().map(|site| &*site.site);
        let half_open = self.half_open_sites.iter().map(|site| &*site.site);
        leaks.chain(aborted).chain(half_open).chain(self.tls_sites.iter().map(|site| &*site.site)).collect()
    }
}

/// Why counts may be off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Incomplete {
    /// Sockets did not fit into a table (`lost.sockets`).
    SocketsLost,
    /// The agent is not in the host's PID namespace.
    PidNamespace,
    /// An accept queue was not looked through to its end.
    AcceptQueueNotWalked,
    /// An accept queue holds more connections that their peer gave up than have records of their own.
    AcceptQueueCut,
    /// Files hold more sockets that no descriptor table shows than have records of their own.
    UnheldCut,
    /// More sockets are shared by processes than are told apart: some were counted once for each of their holders.
    SharedNotToldApart,
}

impl Incomplete {
    /// Half a sentence.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::SocketsLost => "sockets did not fit into the agent's tables (--max-sockets)",
            Self::PidNamespace => {
                "the agent is not in the host's PID namespace, and sees only the processes of its own"
            }
            Self::AcceptQueueNotWalked => "an accept queue was too long to be looked through",
            Self::AcceptQueueCut => "an accept queue holds more given-up connections than are counted one by one",
            Self::UnheldCut => "more sockets without a descriptor than are counted one by one",
            Self::SharedNotToldApart => "some of very many shared sockets were counted once for each holder",
        }
    }
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
    /// Net growth over the last 5 minutes, adopted sockets left out; null until two censuses have shown the site.
    pub per_minute: Option<f64>,
    #[serde(default)]
    pub last_hour: LastHour,
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
    pub usual_close: Option<CommonPath>,
    /// Where the program last sent on its sockets, most of them first; known of those that were in use after the first of
    /// its process had lingered, and not read from since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_sent: Vec<CommonPath>,
    pub examples: Vec<Example>,
    /// The queues in which connections wait that nobody accepts; of that kind only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept_queues: Vec<AcceptQueue>,
    /// What `why` and `fix` say of it.
    #[serde(skip)]
    pub death: Death,
    pub why: String,
    pub fix: String,
}

impl Site {
    /// One of its processes has no descriptor left.
    pub fn is_exhausted(&self) -> bool {
        self.processes.iter().any(|process| process.fds_exhausted_in_seconds == Some(0.0))
    }
}

/// How the number of lingering sockets went, in at most 60 steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LastHour {
    pub step_seconds: f64,
    /// The oldest first, the last is of now; no more than the agent has watched the site.
    pub sockets: Vec<u32>,
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
    /// At the present growth of all its descriptors, sockets or not; 0 when none is left, null while they do not grow.
    pub fds_exhausted_in_seconds: Option<f64>,
    pub rss_bytes: Option<u64>,
    pub emfile_errors: u64,
    /// Calls of close() for descriptors that were not open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad_closes: Option<BadCloses>,
    pub container: Option<Container>,
}

/// Calls of close() that failed with EBADF: what is closed twice may be somebody else's by then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BadCloses {
    pub calls: u64,
    /// The descriptor that the last one asked for; -1 is common and harmless.
    pub fd: i32,
    pub stack: Vec<Frame>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClosedElsewhere {
    pub pid: u32,
    pub comm: String,
    pub stack: Vec<Frame>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// `address:port`, IPv6 in brackets, v4-mapped shown as IPv4.
    pub local: String,
    pub remote: String,
    pub state: State,
    pub age_seconds: f64,
    pub holders: Vec<HolderInfo>,
    /// A file holds it, and no descriptor table shows whose: a blocked thread, io_uring, or in
    /// flight in a Unix socket.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub holder_unknown: bool,
    /// Threads that are inside a call on the descriptor that was closed, and so keep it open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_threads: Vec<BlockedThread>,
    /// Bytes not read by the program (the FIN counts as one), bytes not acknowledged by the peer.
    pub recv_queue: u32,
    pub send_queue: u32,
    pub netns: u32,
    pub tls: Option<TlsStanding>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockedThread {
    pub pid: u32,
    pub tid: u32,
    /// `recvfrom`, `read`, …
    pub call: String,
}

/// The accept queue of one listening socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptQueue {
    /// `address:port` that it listens on.
    pub local: String,
    pub netns: u32,
    /// Connections in the queue, how many fit, and how many of them their peer has given up.
    pub length: u32,
    pub limit: u32,
    pub half_closed: u32,
    /// Connections that are not established yet, and those of them whose client has let the first
    /// SYN-ACK go unanswered.
    #[serde(default)]
    pub syn_recv: u32,
    #[serde(default)]
    pub syn_recv_unanswered: u32,
    /// Who could accept them.
    pub holders: Vec<HolderInfo>,
}
