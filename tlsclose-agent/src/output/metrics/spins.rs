//! Sockets that a thread spins around.

use std::fmt;

use super::by_workload::{BY_WORKLOAD, labels_of};
#[cfg(test)]
use super::family::Declared;
use super::family::Family;
use super::sink::{Sink, Type};
use crate::api::Snapshot;

const SPINNING: Family<4> = Family::new(
    Type::Gauge,
    "tlsclose_spinning_sockets",
    BY_WORKLOAD,
    "Lingering sockets that a thread spins around: it reads the end again and again, or only polls.",
);

#[cfg(test)]
pub fn families() -> Vec<Declared> {
    vec![SPINNING.declared()]
}

pub fn encode(snapshot: &Snapshot, sink: &mut dyn Sink) -> fmt::Result {
    SPINNING.write(sink, snapshot.spinning.iter().map(|(identity, sockets)| (labels_of(identity), *sockets)))
}

#[cfg(test)]
mod tests {
    use crate::output::metrics::tests::{assert_exposes, exposition};
    use crate::output::sample;

    #[test]
    fn spinning_sockets_are_counted_by_workload() {
        let exposition = exposition(&sample::snapshot());
        assert_exposes(
            &exposition,
            "tlsclose_spinning_sockets{namespace=\"shop\",pod=\"payments-6d8\",container=\"api\",comm=\"payments\"} 3\n",
        );
    }
}
