//! Accept queues: connections that nobody has accepted yet.

use std::fmt;

use super::by_workload::{BY_WORKLOAD, labels_of};
#[cfg(test)]
use super::family::Declared;
use super::family::Family;
use super::sink::{Sink, Type};
use crate::api::Snapshot;

const LENGTH: Family<4> = Family::new(
    Type::Gauge,
    "tlsclose_accept_queue_length",
    BY_WORKLOAD,
    "Connections in the fullest accept queue of a workload that has one with connections in it, or on their way there.",
);
const LIMIT: Family<4> =
    Family::new(Type::Gauge, "tlsclose_accept_queue_limit", BY_WORKLOAD, "Backlog of that listener.");

const SYN_RECV: Family<4> = Family::new(
    Type::Gauge,
    "tlsclose_accept_queue_syn_recv",
    BY_WORKLOAD,
    "Connections of a workload's listeners that are not established yet.",
);

#[cfg(test)]
pub fn families() -> Vec<Declared> {
    [LENGTH, LIMIT, SYN_RECV].iter().map(Family::declared).collect()
}

pub fn encode(snapshot: &Snapshot, sink: &mut dyn Sink) -> fmt::Result {
    let all = || snapshot.accept_queues.iter();
    LENGTH.write(sink, all().map(|series| (labels_of(&series.identity), series.length)))?;
    LIMIT.write(sink, all().map(|series| (labels_of(&series.identity), series.limit)))?;
    SYN_RECV.write(sink, all().map(|series| (labels_of(&series.identity), series.syn_recv)))
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
