//! What did not fit somewhere and was lost, by reason. What a full LRU map pushes out is not counted.

use std::collections::BTreeMap;
use std::fmt;

#[cfg(test)]
use super::family::Declared;
use super::family::Family;
use super::sink::{Sink, Type};
use crate::api::Snapshot;

/// What can be lost, and why: exported at 0 from the start, so that `increase()` sees the first loss.
pub const REASONS: [(&str, &str); 27] = [
    ("sockets", "map_full"),
    ("stacks", "budget"),
    ("stacks", "busy"),
    ("stacks", "copy_budget"),
    ("stacks", "file_hung"),
    ("stacks", "leaf_unknown"),
    ("stacks", "map_full"),
    ("stacks", "no_file"),
    ("stacks", "paths_full"),
    ("stacks", "process_gone"),
    ("stacks", "process_map_full"),
    ("stacks", "python_code_missing"),
    ("stacks", "python_late"),
    ("stacks", "python_threads"),
    ("stacks", "python_unreadable"),
    ("stacks", "ring_full"),
    ("stacks", "symbols_failed"),
    ("events", "aborts_full"),
    ("events", "close_range"),
    ("events", "half_open_full"),
    ("events", "recursion"),
    ("events", "ring_full"),
    ("events", "spins_full"),
    ("events", "stale"),
    ("events", "tls_closes_full"),
    ("events", "tls_records"),
    ("events", "tls_sockets_full"),
];

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
    let mut totals: BTreeMap<(&str, &str), u64> = REASONS.into_iter().map(|pair| (pair, 0)).collect();
    for ((what, reason), total) in &snapshot.lost {
        totals.insert((what, reason), *total);
    }
    LOST.write(sink, totals.into_iter().map(|((what, reason), total)| ([what, reason], total)))
}

#[cfg(test)]
mod tests {
    use super::REASONS;
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
    fn the_documentation_explains_every_reason() {
        let text = include_str!("../../../../docs/metrics.md");
        for (what, reason) in REASONS {
            assert!(text.contains(&format!("\n| {what} | {reason} | ")), "{what} {reason}");
        }
    }
}
