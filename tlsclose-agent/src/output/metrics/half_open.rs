//! Established connections whose peer may be gone.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

#[cfg(test)]
use super::family::Declared;
use super::family::{Family, Type};
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

pub fn encode(snapshot: &Snapshot, encoder: &mut DescriptorEncoder) -> fmt::Result {
    let mut sockets = HALF_OPEN.open(encoder)?;
    for series in &snapshot.half_open {
        let identity = &series.identity;
        let labels = [&*identity.namespace, &identity.pod, &identity.container, &identity.comm, series.reason.name()];
        sockets.gauge(labels, series.sockets)?;
    }
    Ok(())
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
