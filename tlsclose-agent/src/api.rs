//! The wire: what the agent says, apart from what it knows.
//!
//! The types of [`Report`] *are* the JSON of `/api/v1/leaks` (schema 1). Innermost frame first.
//! Counts are sockets, ages are seconds, times are RFC 3339 in UTC. All outputs are made from
//! [`Snapshot`].

mod aborts;
mod half_open;
mod holder_info;
mod leaks;
mod listed;
mod snapshot;
mod spinning;
mod tls;

pub use self::{aborts::*, half_open::*, holder_info::*, leaks::*, listed::*, snapshot::*, spinning::*, tls::*};

/// Processes shown for one site.
pub const PROCESSES_SHOWN: usize = 20;
