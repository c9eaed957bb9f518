//! `/metrics`: every family, declared beside the function that encodes it.
//!
//! Each file below is one concern: its families, one encode function, and a test that asserts
//! the exact lines. `docs/metrics.md` lists all families, and a test compares it with [`families`].

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text as openmetrics};
use prometheus_client::registry::Registry;

use crate::api::Snapshot;

mod aborts;
mod bpf;
mod census;
mod close_calls;
mod family;
mod half_open;
mod host;
mod lost;
mod neighbours;
mod own;
mod processes;
mod queues;
mod sites;
mod sockets;
mod spins;
pub mod text;
mod tls;

#[cfg(test)]
pub use family::Declared;
use own::Own;
use text::Format;

/// Every family that can be exported, in the order of the exposition.
#[cfg(test)]
pub fn families() -> Vec<Declared> {
    [
        sockets::families(),
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

/// What a snapshot says: the same text for as long as the snapshot is the same.
/// It is followed by [`own_text`].
pub fn snapshot_text(snapshot: &Arc<Snapshot>, format: Format) -> String {
    // About 100 bytes a line, 8 lines a series.
    let size = 16 * 1024 + snapshot.series.len() * 900;
    render(Box::new(OfSnapshot(Arc::clone(snapshot))), format, size)
}

/// What the agent says about its own process, now, and the end of the exposition.
pub fn own_text(format: Format) -> String {
    let mut text = render(Box::new(OfAgent(Own::read())), format, 2048);
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn render(collector: Box<dyn Collector>, format: Format, size: usize) -> String {
    let mut registry = Registry::default();
    registry.register_collector(collector);
    let mut text = String::with_capacity(size);
    openmetrics::encode_registry(&mut text, &registry).expect("writing to a string cannot fail");
    match format {
        Format::OpenMetrics => text,
        Format::Prometheus => text::to_prometheus(&text),
    }
}

#[derive(Debug)]
struct OfSnapshot(Arc<Snapshot>);

impl Collector for OfSnapshot {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let (snapshot, encoder) = (self.0.as_ref(), &mut encoder);
        sockets::encode(snapshot, encoder)?;
        sites::encode(snapshot, encoder)?;
        tls::encode(snapshot, encoder)?;
        processes::encode(snapshot, encoder)?;
        queues::encode(snapshot, encoder)?;
        close_calls::encode(snapshot, encoder)?;
        aborts::encode(snapshot, encoder)?;
        half_open::encode(snapshot, encoder)?;
        spins::encode(snapshot, encoder)?;
        neighbours::encode(snapshot, encoder)?;
        lost::encode(snapshot, encoder)?;
        census::encode(snapshot, encoder)?;
        bpf::encode(snapshot, encoder)?;
        host::encode(snapshot, encoder)
    }
}

#[derive(Debug)]
struct OfAgent(Own);

impl Collector for OfAgent {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        own::encode(&self.0, &mut encoder)
    }
}

#[cfg(test)]
mod tests;
