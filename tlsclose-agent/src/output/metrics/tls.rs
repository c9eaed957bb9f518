//! How TLS connections ended, in both directions.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

#[cfg(test)]
use super::family::Declared;
use super::family::{Family, Type};
use crate::snapshot::Snapshot;

const CLOSES: Family<6> = Family::new(
    Type::Counter,
    "tlsclose_tls_closes_total",
    ["namespace", "pod", "container", "comm", "side", "outcome"],
    "TLS connections closed, by how each direction ended.",
);

#[cfg(test)]
pub fn families() -> Vec<Declared> {
    vec![CLOSES.declared()]
}

pub fn encode(snapshot: &Snapshot, encoder: &mut DescriptorEncoder) -> fmt::Result {
    let mut closes = CLOSES.open(encoder)?;
    for series in &snapshot.tls_closes {
        let identity = &series.identity;
        let labels = [
            identity.namespace.as_str(),
            &identity.pod,
            &identity.container,
            &identity.comm,
            series.side,
            series.outcome.name(),
        ];
        closes.counter(labels, series.total)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::output::metrics::tests::{assert_exposes, exposition};
    use crate::output::sample;

    #[test]
    fn a_close_is_counted_for_both_sides() {
        let of = "namespace=\"shop\",pod=\"payments-6d8\",container=\"api\",comm=\"payments\"";
        assert_exposes(
            &exposition(&sample::snapshot()),
            &format!(
                "# TYPE tlsclose_tls_closes counter\n\
                 tlsclose_tls_closes_total{{{of},side=\"local\",outcome=\"truncated\"}} 37\n\
                 tlsclose_tls_closes_total{{{of},side=\"remote\",outcome=\"unknown\"}} 37\n"
            ),
        );
    }
}
