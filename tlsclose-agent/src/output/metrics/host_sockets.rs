//! All TCP sockets of the host: how many, in which state, and for how long half-closed.

use std::fmt;

#[cfg(test)]
use super::family::Declared;
use super::family::Family;
use super::sink::{Sink, Type};
use crate::api::Snapshot;
use tlsclose_core::model::State;

const SOCKETS: Family<1> = Family::new(Type::Gauge, "tlsclose_sockets", ["state"], "TCP sockets by state.");
const ORPHANED: Family<0> = Family::new(
    Type::Gauge,
    "tlsclose_orphaned_sockets",
    [],
    "TCP sockets that no file holds any more; the kernel ends them.",
);
const TRANSITIONS: Family<2> =
    Family::new(Type::Counter, "tlsclose_state_transitions_total", ["from", "to"], "Changes of TCP state.");
const HALF_CLOSED: Family<1> = Family::new(
    Type::Histogram,
    "tlsclose_half_closed_seconds",
    ["state"],
    "How long sockets stayed half-closed, when they left that state.",
);

const IGNORED: Family<0> = Family::new(
    Type::Gauge,
    "tlsclose_ignored_sockets",
    [],
    "Half-closed TCP sockets that the configuration wants to hear nothing of.",
);

#[cfg(test)]
pub fn families() -> Vec<Declared> {
    vec![SOCKETS.declared(), ORPHANED.declared(), IGNORED.declared(), TRANSITIONS.declared(), HALF_CLOSED.declared()]
}

pub fn encode(snapshot: &Snapshot, sink: &mut dyn Sink) -> fmt::Result {
    let count = |state| snapshot.sockets.get(&state).copied().unwrap_or(0);
    SOCKETS.write(sink, State::all().map(|state| ([state.name()], count(state))))?;
    ORPHANED.write(sink, [([], snapshot.orphans)])?;
    IGNORED.write(sink, [([], snapshot.ignored)])?;
    let transitions = snapshot.transitions.iter();
    TRANSITIONS.write(sink, transitions.map(|((from, to), total)| ([from.name(), to.name()], *total)))?;
    let half_closed = snapshot.half_closed_seconds.iter();
    HALF_CLOSED.write(sink, half_closed.map(|(state, histogram)| ([state.name()], histogram)))
}

#[cfg(test)]
mod tests {
    use crate::output::metrics::tests::{assert_exposes, exposition};
    use crate::output::sample;

    #[test]
    fn every_state_is_there_even_at_zero() {
        assert_exposes(
            &exposition(&sample::snapshot()),
            "\
# HELP tlsclose_sockets TCP sockets by state.
# TYPE tlsclose_sockets gauge
tlsclose_sockets{state=\"established\"} 7
tlsclose_sockets{state=\"syn_sent\"} 0
tlsclose_sockets{state=\"syn_recv\"} 0
tlsclose_sockets{state=\"fin_wait1\"} 0
tlsclose_sockets{state=\"fin_wait2\"} 0
tlsclose_sockets{state=\"time_wait\"} 0
tlsclose_sockets{state=\"close\"} 0
tlsclose_sockets{state=\"close_wait\"} 412
tlsclose_sockets{state=\"last_ack\"} 0
tlsclose_sockets{state=\"listen\"} 0
tlsclose_sockets{state=\"closing\"} 0
# HELP tlsclose_orphaned_sockets TCP sockets that no file holds any more; the kernel ends them.
# TYPE tlsclose_orphaned_sockets gauge
tlsclose_orphaned_sockets 4
# HELP tlsclose_ignored_sockets Half-closed TCP sockets that the configuration wants to hear nothing of.
# TYPE tlsclose_ignored_sockets gauge
tlsclose_ignored_sockets 0
# HELP tlsclose_state_transitions Changes of TCP state.
# TYPE tlsclose_state_transitions counter
tlsclose_state_transitions_total{from=\"established\",to=\"close_wait\"} 430
",
        );
    }

    #[test]
    fn histograms_are_cumulative() {
        assert_exposes(
            &exposition(&sample::snapshot()),
            "\
# TYPE tlsclose_half_closed_seconds histogram
tlsclose_half_closed_seconds_sum{state=\"close_wait\"} 12.5
tlsclose_half_closed_seconds_count{state=\"close_wait\"} 9
tlsclose_half_closed_seconds_bucket{le=\"0.1\",state=\"close_wait\"} 5
tlsclose_half_closed_seconds_bucket{le=\"1.0\",state=\"close_wait\"} 7
tlsclose_half_closed_seconds_bucket{le=\"+Inf\",state=\"close_wait\"} 9
",
        );
    }
}
