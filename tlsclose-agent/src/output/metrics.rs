//! `/metrics`: every family, declared beside the function that encodes it, for text and for OTLP.
//!
//! Each file below is one concern: its families, one encode function, and a test that asserts
//! the exact lines. `docs/metrics.md` lists all families, and a test compares it with [`families`].

use std::fmt;
use std::sync::Arc;

use crate::api::Snapshot;

mod aborts;
mod bpf;
mod by_workload;
mod census;
mod close_calls;
mod exposition;
mod family;
mod half_open;
mod host;
mod host_sockets;
mod lost;
mod neighbours;
mod own;
mod processes;
mod queues;
pub mod sink;
mod sites;
mod spins;
pub mod text;
mod tls;

use exposition::openmetrics_text;
use own::Own;
use sink::Sink;
use text::Format;

#[cfg(test)]
pub use family::Declared;

/// Every family that can be exported, in the order of the exposition.
#[cfg(test)]
pub fn families() -> Vec<Declared> {
    [
        host_sockets::families(),
        sites::families(),
        tls::families(),
        processes::families(),
        queues::families(),
        close_calls::families(),
        aborts::families(),
        half_open::families(),
        spins::families(),
        neighbours::families(),
        lost::families(),
        census::families(),
        bpf::families(),
        host::families(),
        own::families(),
    ]
    .concat()
}

/// Writes what a snapshot says.
pub fn write_snapshot(snapshot: &Snapshot, sink: &mut dyn Sink) -> fmt::Result {
    host_sockets::encode(snapshot, sink)?;
    sites::encode(snapshot, sink)?;
    tls::encode(snapshot, sink)?;
    processes::encode(snapshot, sink)?;
    queues::encode(snapshot, sink)?;
    close_calls::encode(snapshot, sink)?;
    aborts::encode(snapshot, sink)?;
    half_open::encode(snapshot, sink)?;
    spins::encode(snapshot, sink)?;
    neighbours::encode(snapshot, sink)?;
    lost::encode(snapshot, sink)?;
    census::encode(snapshot, sink)?;
    bpf::encode(snapshot, sink)?;
    host::encode(snapshot, sink)
}

/// Writes what the agent says about its own process, now.
pub fn write_own(sink: &mut dyn Sink) -> fmt::Result {
    own::encode(&Own::read(), sink)
}

/// What a snapshot says: the same text for as long as the snapshot is the same.
/// It is followed by [`own_text`].
pub fn snapshot_text(snapshot: &Arc<Snapshot>, format: Format) -> String {
    // About 100 bytes a line, 8 lines a series.
    let size = 16 * 1024 + snapshot.series.len() * 900;
    let snapshot = Arc::clone(snapshot);
    in_format(openmetrics_text(move |sink| write_snapshot(&snapshot, sink), size), format)
}

/// What the agent says about its own process, now, and the end of the exposition.
pub fn own_text(format: Format) -> String {
    let mut text = in_format(openmetrics_text(write_own, 2048), format);
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn in_format(openmetrics: String, format: Format) -> String {
    match format {
        Format::OpenMetrics => openmetrics,
        Format::Prometheus => text::to_prometheus(&openmetrics),
    }
}

#[cfg(test)]
mod tests;
