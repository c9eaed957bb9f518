//! Connections that ended by a reset or an error.

use std::fmt;

use super::by_workload::labels_of;
#[cfg(test)]
use super::family::Declared;
use super::family::Family;
use super::sink::{Sink, Type};
use crate::api::Snapshot;

const ABORTED: Family<5> = Family::new(
    Type::Counter,
    "tlsclose_aborted_closes_total",
    ["namespace", "pod", "container", "comm", "cause"],
    "Connections that did not end by a FIN in both directions, by what ended them, when their program closed them.",
);

#[cfg(test)]
pub fn families() -> Vec<Declared> {
    vec![ABORTED.declared()]
}

pub fn encode(snapshot: &Snapshot, sink: &mut dyn Sink) -> fmt::Result {
    let samples = snapshot.aborts.iter().map(|series| {
        let [namespace, pod, container, comm] = labels_of(&series.identity);
        ([namespace, pod, container, comm, series.cause.name()], series.total)
    });
    ABORTED.write(sink, samples)
}

#[cfg(test)]
mod tests {
    use crate::output::metrics::tests::{assert_exposes, exposition};
    use crate::output::sample;

    #[test]
    fn aborted_closes_are_counted_by_cause() {
        let exposition = exposition(&sample::snapshot());
        assert_exposes(
            &exposition,
            "tlsclose_aborted_closes_total{namespace=\"shop\",pod=\"payments-6d8\",container=\"api\",comm=\"payments\",cause=\"unread_data\"} 8\n",
        );
    }
}
