//! Connections that ended by a reset or an error.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

#[cfg(test)]
use super::family::Declared;
use super::family::{Family, Type};
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

pub fn encode(snapshot: &Snapshot, encoder: &mut DescriptorEncoder) -> fmt::Result {
    let mut aborted = ABORTED.open(encoder)?;
    for series in &snapshot.aborts {
        let identity = &series.identity;
        let labels = [&*identity.namespace, &identity.pod, &identity.container, &identity.comm, series.cause.name()];
        aborted.counter(labels, series.total)?;
    }
    Ok(())
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
