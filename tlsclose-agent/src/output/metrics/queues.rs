//! Accept queues: connections that nobody has accepted yet.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

#[cfg(test)]
use super::family::Declared;
use super::family::{Family, Type};
use crate::api::{QueueSeries, Snapshot};

const BY_IDENTITY: [&str; 4] = ["namespace", "pod", "container", "comm"];

const LENGTH: Family<4> = Family::new(
    Type::Gauge,
    "tlsclose_accept_queue_length",
    BY_IDENTITY,
    "Connections in the fullest accept queue of a workload that has one with connections in it, or on their way there.",
);
const LIMIT: Family<4> =
    Family::new(Type::Gauge, "tlsclose_accept_queue_limit", BY_IDENTITY, "Backlog of that listener.");

const SYN_RECV: Family<4> = Family::new(
    Type::Gauge,
    "tlsclose_accept_queue_syn_recv",
    BY_IDENTITY,
    "Connections of a workload's listeners that are not established yet.",
);

#[cfg(test)]
pub fn families() -> Vec<Declared> {
    [LENGTH, LIMIT, SYN_RECV].iter().map(Family::declared).collect()
}

fn labels(series: &QueueSeries) -> [&str; 4] {
    let identity = &series.identity;
    [&identity.namespace, &identity.pod, &identity.container, &identity.comm]
}

pub fn encode(snapshot: &Snapshot, encoder: &mut DescriptorEncoder) -> fmt::Result {
    let mut length = LENGTH.open(encoder)?;
    for series in &snapshot.accept_queues {
        length.gauge(labels(series), series.length)?;
    }
    let mut limit = LIMIT.open(encoder)?;
    for series in &snapshot.accept_queues {
        limit.gauge(labels(series), series.limit)?;
    }
    let mut syn_recv = SYN_RECV.open(encoder)?;
    for series in &snapshot.accept_queues {
        syn_recv.gauge(labels(series), series.syn_recv)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::output::metrics::tests::{assert_exposes, exposition};
    use crate::output::sample;

    #[test]
    fn accept_queues_are_exported_by_workload() {
        let of = "{namespace=\"shop\",pod=\"payments-6d8\",container=\"api\",comm=\"payments\"}";
        let exposition = exposition(&sample::snapshot());
        assert_exposes(&exposition, &format!("tlsclose_accept_queue_length{of} 5\n"));
        assert_exposes(&exposition, &format!("tlsclose_accept_queue_limit{of} 128\n"));
        assert_exposes(&exposition, &format!("tlsclose_accept_queue_syn_recv{of} 3\n"));
    }
}
