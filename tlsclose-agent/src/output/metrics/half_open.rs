//! Established connections whose peer may be gone.

use std::fmt;

use super::by_workload::labels_of;
#[cfg(test)]
use super::family::Declared;
use super::family::Family;
use super::sink::{Sink, Type};
use crate::api::Snapshot;

const HALF_OPEN: Family<5> = Family::new(
    Type::Gauge,
    "tlsclose_half_open_sockets",
    ["namespace", "pod", "container", "comm", "reason"],
    "Established connections whose peer may be gone, by what it leaves unanswered.",
);

#[cfg(test)]
pub fn families() -> Vec<Declared> {
    vec![HALF_OPEN.declared()]
}

pub fn encode(snapshot: &Snapshot, sink: &mut dyn Sink) -> fmt::Result {
    let samples = snapshot.half_open.iter().map(|series| {
        let [namespace, pod, container, comm] = labels_of(&series.identity);
        ([namespace, pod, container, comm, series.reason.name()], series.sockets)
    });
    HALF_OPEN.write(sink, samples)
}

#[cfg(test)]
mod tests {
    use crate::output::metrics::tests::{assert_exposes, exposition};
    use crate::output::sample;

    #[test]
    fn half_open_sockets_are_counted_by_reason() {
        let exposition = exposition(&sample::snapshot());
        assert_exposes(
            &exposition,
            "tlsclose_half_open_sockets{namespace=\"shop\",pod=\"payments-6d8\",container=\"api\",comm=\"payments\",reason=\"idle\"} 6\n",
        );
    }
}
