//! How TLS connections ended, in both directions.

use std::fmt;

use super::by_workload::{BY_WORKLOAD, labels_of};
#[cfg(test)]
use super::family::Declared;
use super::family::Family;
use super::sink::{Sink, Type};
use crate::api::Snapshot;
use tlsclose_core::closes::tls::TlsProgram;

const CLOSES: Family<6> = Family::new(
    Type::Counter,
    "tlsclose_tls_closes_total",
    ["namespace", "pod", "container", "comm", "side", "outcome"],
    "TLS connections closed, by how each direction ended.",
);

const AFTER_DATA: Family<4> = Family::new(
    Type::Counter,
    "tlsclose_tls_truncated_after_data_total",
    BY_WORKLOAD,
    "TLS connections closed without close_notify, within a second after the program had sent data.",
);

#[cfg(test)]
pub fn families() -> Vec<Declared> {
    vec![CLOSES.declared(), AFTER_DATA.declared()]
}

pub fn encode(snapshot: &Snapshot, sink: &mut dyn Sink) -> fmt::Result {
    let all = || snapshot.tls_closes.iter();
    CLOSES.write(sink, all().flat_map(closes))?;
    AFTER_DATA.write(sink, all().map(|program| (labels_of(&program.identity), program.after_data)))
}

fn closes(program: &TlsProgram) -> impl Iterator<Item = ([&str; 6], u64)> {
    let [namespace, pod, container, comm] = labels_of(&program.identity);
    [("local", program.local), ("remote", program.remote)].into_iter().flat_map(move |(side, outcomes)| {
        let totals = outcomes.all();
        totals.map(move |(outcome, total)| ([namespace, pod, container, comm, side, outcome.name()], total))
    })
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
                 tlsclose_tls_closes_total{{{of},side=\"local\",outcome=\"clean\"}} 3\n\
                 tlsclose_tls_closes_total{{{of},side=\"local\",outcome=\"truncated\"}} 37\n\
                 tlsclose_tls_closes_total{{{of},side=\"local\",outcome=\"unanswered\"}} 0\n\
                 tlsclose_tls_closes_total{{{of},side=\"local\",outcome=\"aborted\"}} 0\n\
                 tlsclose_tls_closes_total{{{of},side=\"local\",outcome=\"unknown\"}} 0\n\
                 tlsclose_tls_closes_total{{{of},side=\"remote\",outcome=\"clean\"}} 0\n\
                 tlsclose_tls_closes_total{{{of},side=\"remote\",outcome=\"truncated\"}} 0\n\
                 tlsclose_tls_closes_total{{{of},side=\"remote\",outcome=\"unanswered\"}} 0\n\
                 tlsclose_tls_closes_total{{{of},side=\"remote\",outcome=\"aborted\"}} 0\n\
                 tlsclose_tls_closes_total{{{of},side=\"remote\",outcome=\"unknown\"}} 40\n"
            ),
        );
        assert_exposes(
            &exposition(&sample::snapshot()),
            &format!(
                "# TYPE tlsclose_tls_truncated_after_data counter\n\
                 tlsclose_tls_truncated_after_data_total{{{of}}} 30\n"
            ),
        );
    }
}
