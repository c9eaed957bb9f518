//! What the agent says: findings.
//!
//! The types below *are* the JSON of `/api/v1/leaks` (schema 1). Innermost frame first.
//! Counts are sockets, ages are seconds, times are RFC 3339 in UTC.

mod aborts;
mod death;
mod frame;
mod half_open;
mod listed;
mod spinning;
mod tls;

use serde::{Deserialize, Serialize};

pub use self::{aborts::*, death::*, frame::*, half_open::*, listed::*, spinning::*, tls::*};

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
    /// CLOSE_WAIT in an accept queue: the peer gave up before anybody accepted.
    CloseWaitNotAccepted,
    /// CLOSE_WAIT after a close() that left it open, because something else holds the file.
    CloseWaitSharedFd,
    /// Not held, but closed: connections that ended by a reset or an error. Never lingers or leaks.
    AbortedClose,
    /// Established, and the peer may be gone. Never lingers or leaks.
    HalfOpen,
    /// A TLS connection closed without a goodbye: a fact about a code path, not a leak.
    TlsTruncated,
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

impl State {
    /// By its number in the kernel (include/net/tcp_states.h).
    pub fn numbered(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

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

/// How the number of lingering sockets went, in at most 60 steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LastHour {
    pub step_seconds: f64,
    /// The oldest first, the last is of now; no more than the agent has watched the site.
    pub sockets: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub closed: u64,
    pub touched: u64,
    pub reclassified: u64,
    pub process_exit: u64,
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

/// What came of a call of close().
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloseResult {
    Closed,
    StillHeld,
    BadFd,
}

/// Where a process runs. What its runtime did not say is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// `accept4`, `accept`, `connect`, `listen`, `read`, `send`, `shutdown`.
    pub call: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_ago: Option<f64>,
    /// The stack reaches the start of the program or of its thread. Else its outermost frames are missing.
    #[serde(default)]
    pub whole: bool,
    pub stack: Vec<Frame>,
}

impl Touch {
    /// The same call with the same result and stack, whenever it was.
    pub fn is_same_path(&self, other: &Touch) -> bool {
        (&self.call, self.result, self.whole, &self.stack) == (&other.call, other.result, other.whole, &other.stack)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClosedElsewhere {
    pub pid: u32,
    pub comm: String,
    pub stack: Vec<Frame>,
}

/// A code path that sockets have in common, and how many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommonPath {
    pub sockets: u64,
    /// As in [`Touch`].
    #[serde(default)]
    pub whole: bool,
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderInfo {
    pub pid: u32,
    pub comm: String,
    pub fd: u32,
}
