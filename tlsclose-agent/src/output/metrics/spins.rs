//! Sockets that a thread spins around.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

#[cfg(test)]
use super::family::Declared;
use super::family::{Family, Type};
use crate::api::Snapshot;

const SPINNING: Family<4> = Family::new(
    Type::Gauge,
    "tlsclose_spinning_sockets",
    ["namespace", "pod", "container", "comm"],
    "Lingering sockets that a thread spins around: it reads the end again and again, or only polls.",
);

#[cfg(test)]
pub fn families() -> Vec<Declared> {
    vec![SPINNING.declared()]
}

pub fn encode(snapshot: &Snapshot, encoder: &mut DescriptorEncoder) -> fmt::Result {
    let mut spinning = SPINNING.open(encoder)?;
    for (identity, sockets) in &snapshot.spinning {
        let labels = [&*identity.namespace, &identity.pod, &identity.container, &identity.comm];
        spinning.gauge(labels, *sockets)?;
    }
    Ok(())
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
