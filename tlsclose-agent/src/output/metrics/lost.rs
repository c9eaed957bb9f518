//! What did not fit somewhere and was lost, by reason. What a full LRU map pushes out is not counted.

use std::fmt;

use tlsclose_core::model::Loss;

#[cfg(test)]
use super::family::Declared;
use super::family::Family;
use super::sink::{Sink, Type};
use crate::api::Snapshot;

const LOST: Family<2> = Family::new(
    Type::Counter,
    "tlsclose_lost_total",
    ["what", "reason"],
    "What the agent should have recorded and could not, by reason.",
);

#[cfg(test)]
pub fn families() -> Vec<Declared> {
    vec![LOST.declared()]
}

pub fn encode(snapshot: &Snapshot, sink: &mut dyn Sink) -> fmt::Result {
    // At 0 from the start, so that `increase()` sees the first loss.
    let total = |loss| snapshot.lost.get(&loss).copied().unwrap_or(0);
    LOST.write(sink, Loss::all().map(|loss| ([loss.what().name(), loss.reason()], total(loss))))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tlsclose_core::model::Loss;

    use crate::output::metrics::tests::{assert_exposes, exposition};
    use crate::output::sample;

    #[test]
    fn every_reason_is_there_before_the_first_loss() {
        assert_exposes(
            &exposition(&sample::snapshot()),
            "\
# TYPE tlsclose_lost counter
tlsclose_lost_total{what=\"events\",reason=\"aborts_full\"} 0
tlsclose_lost_total{what=\"events\",reason=\"close_range\"} 0
tlsclose_lost_total{what=\"events\",reason=\"half_open_full\"} 0
tlsclose_lost_total{what=\"events\",reason=\"recursion\"} 0
tlsclose_lost_total{what=\"events\",reason=\"ring_full\"} 0
tlsclose_lost_total{what=\"events\",reason=\"spins_full\"} 0
tlsclose_lost_total{what=\"events\",reason=\"stale\"} 0
tlsclose_lost_total{what=\"events\",reason=\"tls_closes_full\"} 0
tlsclose_lost_total{what=\"events\",reason=\"tls_records\"} 0
tlsclose_lost_total{what=\"events\",reason=\"tls_sockets_full\"} 0
tlsclose_lost_total{what=\"sockets\",reason=\"map_full\"} 0
tlsclose_lost_total{what=\"stacks\",reason=\"budget\"} 17
tlsclose_lost_total{what=\"stacks\",reason=\"busy\"} 0
tlsclose_lost_total{what=\"stacks\",reason=\"copy_budget\"} 0
tlsclose_lost_total{what=\"stacks\",reason=\"file_hung\"} 0
tlsclose_lost_total{what=\"stacks\",reason=\"leaf_unknown\"} 0
tlsclose_lost_total{what=\"stacks\",reason=\"map_full\"} 0
tlsclose_lost_total{what=\"stacks\",reason=\"no_file\"} 0
tlsclose_lost_total{what=\"stacks\",reason=\"paths_full\"} 0
tlsclose_lost_total{what=\"stacks\",reason=\"process_gone\"} 0
tlsclose_lost_total{what=\"stacks\",reason=\"process_map_full\"} 0
tlsclose_lost_total{what=\"stacks\",reason=\"python_code_missing\"} 0
tlsclose_lost_total{what=\"stacks\",reason=\"python_late\"} 0
tlsclose_lost_total{what=\"stacks\",reason=\"python_threads\"} 0
tlsclose_lost_total{what=\"stacks\",reason=\"python_unreadable\"} 0
tlsclose_lost_total{what=\"stacks\",reason=\"ring_full\"} 0
tlsclose_lost_total{what=\"stacks\",reason=\"symbols_failed\"} 0
",
        );
    }

    #[test]
    fn the_documentation_explains_every_reason_and_no_other() {
        let text = include_str!("../../../../docs/metrics.md");
        let (_, table) = text.split_once("\n| what | reason | ").expect("a table of reasons");
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let documented: BTreeSet<(&str, &str)> = rows
            .map(|row| {
                let mut cells = row.split('|').skip(1).map(str::trim);
                (cells.next().unwrap_or_default(), cells.next().unwrap_or_default())
            })
            .collect();
        let known: BTreeSet<(&str, &str)> = Loss::all().map(|loss| (loss.what().name(), loss.reason())).collect();
        assert_eq!(documented, known);
    }
}
