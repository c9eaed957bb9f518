//! The census: how long it takes, how often it is taken, how much it walks.

use std::fmt;

#[cfg(test)]
use super::family::Declared;
use super::family::Family;
use super::sink::{Sink, Type};
use crate::api::Snapshot;

const DURATION: Family<0> =
    Family::new(Type::Histogram, "tlsclose_census_duration_seconds", [], "Time that a census of all sockets took.");
const INTERVAL: Family<0> = Family::new(
    Type::Gauge,
    "tlsclose_census_interval_seconds",
    [],
    "Time between two censuses, stretched so that they cost at most 1 % of a core.",
);
const FDS: Family<0> = Family::new(Type::Gauge, "tlsclose_census_fds", [], "Descriptors that the last census walked.");

#[cfg(test)]
pub fn families() -> Vec<Declared> {
    [DURATION, INTERVAL, FDS].iter().map(Family::declared).collect()
}

pub fn encode(snapshot: &Snapshot, sink: &mut dyn Sink) -> fmt::Result {
    let census = &snapshot.report.census;
    DURATION.write(sink, [([], &snapshot.census_duration)])?;
    INTERVAL.write(sink, [([], census.interval_seconds)])?;
    FDS.write(sink, [([], census.fds)])
}

#[cfg(test)]
mod tests {
    use crate::output::metrics::tests::{assert_exposes, exposition};
    use crate::output::sample;

    #[test]
    fn a_census_says_what_it_cost() {
        assert_exposes(
            &exposition(&sample::snapshot()),
            "\
# TYPE tlsclose_census_duration_seconds histogram
tlsclose_census_duration_seconds_sum 0.021
tlsclose_census_duration_seconds_count 2
tlsclose_census_duration_seconds_bucket{le=\"0.01\"} 1
tlsclose_census_duration_seconds_bucket{le=\"+Inf\"} 2
# HELP tlsclose_census_interval_seconds Time between two censuses, stretched so that they cost at most 1 % of a core.
# TYPE tlsclose_census_interval_seconds gauge
tlsclose_census_interval_seconds 5.0
# HELP tlsclose_census_fds Descriptors that the last census walked.
# TYPE tlsclose_census_fds gauge
tlsclose_census_fds 30112
",
        );
    }
}
