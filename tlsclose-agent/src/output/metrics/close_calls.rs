//! Calls of close(), and what no descriptor shows.

use std::fmt;

#[cfg(test)]
use super::family::Declared;
use super::family::Family;
use super::sink::{Sink, Type};
use crate::api::Snapshot;

const CALLS: Family<1> = Family::new(
    Type::Counter,
    "tlsclose_close_calls_total",
    ["result"],
    "Calls of close, close_range, dup2 and dup3 for a TCP socket or for nothing, by processes with TCP sockets.",
);
const UNHELD: Family<0> = Family::new(
    Type::Gauge,
    "tlsclose_unheld_sockets",
    [],
    "Half-closed sockets that a file holds and no descriptor table shows.",
);

#[cfg(test)]
pub fn families() -> Vec<Declared> {
    vec![CALLS.declared(), UNHELD.declared()]
}

pub fn encode(snapshot: &Snapshot, sink: &mut dyn Sink) -> fmt::Result {
    CALLS.write(sink, snapshot.close_calls.iter().map(|(result, count)| ([result.name()], *count)))?;
    UNHELD.write(sink, [([], snapshot.unheld)])
}

#[cfg(test)]
mod tests {
    use crate::output::metrics::tests::{assert_exposes, exposition};
    use crate::output::sample;

    #[test]
    fn calls_are_counted_by_result() {
        let exposition = exposition(&sample::snapshot());
        for line in [
            "tlsclose_close_calls_total{result=\"closed\"} 90\n",
            "tlsclose_close_calls_total{result=\"still_held\"} 2\n",
            "tlsclose_close_calls_total{result=\"bad_fd\"} 1\n",
            "tlsclose_unheld_sockets 3\n",
        ] {
            assert_exposes(&exposition, line);
        }
    }
}
