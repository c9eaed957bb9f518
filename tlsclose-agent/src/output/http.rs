//! The agent's HTTP server.
//!
//! | path | answer |
//! | --- | --- |
//! | `/metrics` | OpenMetrics 1.0 when the client asks for it, else Prometheus text 0.0.4 |
//! | `/api/v1/leaks` | the report; `?kind= pid= comm= namespace= site= limit=` |
//! | `/api/v1/doctor` | what this host allows |
//! | `/healthz` | 200 while the agent runs |
//! | `/readyz` | 200 once a first census is done, 503 before |
//! | `/`, `/page.css`, `/page.js` | the page |
//!
//! `--web.config.file` asks TCP clients for TLS and passwords: see [`access`].
//!
//! Everything is read from one published snapshot. TCP clients get it [`redact`]ed unless
//! `--web.details on`; the owner's socket always gets everything. What a client may cost is
//! bounded in [`serve`].

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;

use crate::api::Snapshot;

pub mod access;
pub mod answer;
pub mod answer_cache;
pub mod host;
pub mod listen;
pub mod query;
pub mod redact;
pub mod routes;
pub mod serve;

pub use listen::{ListenAddress, OwnerSocket};

/// What the server needs to know.
#[derive(Clone)]
pub struct Config {
    pub snapshots: Arc<ArcSwap<Snapshot>>,
    /// `--web.telemetry-path`
    pub telemetry_path: String,
    /// `--web.details on`: TCP clients see what the owner sees.
    pub details_over_tcp: bool,
    /// Names by which TCP clients may call this host, as [`host::known_names`] gives them.
    pub hosts: Vec<String>,
    /// `--web.config.file`
    pub access: access::Access,
}

/// Where to serve; either may be missing.
pub struct Listeners {
    pub tcp: Option<TcpListener>,
    pub owner: Option<OwnerSocket>,
}
