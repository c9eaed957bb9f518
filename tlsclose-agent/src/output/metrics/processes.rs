//! Descriptors of the programs that have a lingering socket: how long until they run out.

use std::fmt;

use super::by_workload::{BY_WORKLOAD, labels_of};
#[cfg(test)]
use super::family::Declared;
use super::family::Family;
use super::sink::{Sink, Type};
use crate::api::Snapshot;

const OPEN: Family<4> = Family::new(
    Type::Gauge,
    "tlsclose_process_open_fds",
    BY_WORKLOAD,
    "Open descriptors of the worst process of a workload with a lingering socket.",
);
const MAX: Family<4> =
    Family::new(Type::Gauge, "tlsclose_process_max_fds", BY_WORKLOAD, "Limit of that process's descriptors.");
const EXHAUSTED: Family<4> = Family::new(
    Type::Gauge,
    "tlsclose_process_fds_exhausted_seconds",
    BY_WORKLOAD,
    "Seconds until that process has no descriptor left, at the present growth.",
);
const EMFILE: Family<4> = Family::new(
    Type::Counter,
    "tlsclose_process_emfile_errors_total",
    BY_WORKLOAD,
    "Calls of a workload with a lingering socket that failed because no descriptor was left.",
);

#[cfg(test)]
pub fn families() -> Vec<Declared> {
    [OPEN, MAX, EXHAUSTED, EMFILE].iter().map(Family::declared).collect()
}

pub fn encode(snapshot: &Snapshot, sink: &mut dyn Sink) -> fmt::Result {
    let all = || snapshot.processes.iter();
    OPEN.write(sink, all().filter_map(|series| Some((labels_of(&series.identity), series.open_fds?))))?;
    MAX.write(sink, all().filter_map(|series| Some((labels_of(&series.identity), series.max_fds?))))?;
    EXHAUSTED
        .write(sink, all().filter_map(|series| Some((labels_of(&series.identity), series.fds_exhausted_seconds?))))?;
    EMFILE.write(sink, all().map(|series| (labels_of(&series.identity), series.emfile_errors_total)))
}

#[cfg(test)]
mod tests {
    use crate::output::metrics::tests::{assert_exposes, exposition};
    use crate::output::sample;

    #[test]
    fn descriptors_are_exported_by_workload() {
        let of = "{namespace=\"shop\",pod=\"payments-6d8\",container=\"api\",comm=\"payments\"}";
        let exposition = exposition(&sample::snapshot());
        for line in [
            format!("tlsclose_process_open_fds{of} 1870\n"),
            format!("tlsclose_process_max_fds{of} 4096\n"),
            format!("tlsclose_process_fds_exhausted_seconds{of} 32600.5\n"),
            format!("tlsclose_process_emfile_errors_total{of} 3\n"),
        ] {
            assert_exposes(&exposition, &line);
        }
    }

    #[test]
    fn what_is_not_known_is_not_exported() {
        let mut snapshot = sample::snapshot();
        snapshot.processes[0].fds_exhausted_seconds = None;
        snapshot.processes[0].open_fds = None;
        let exposition = exposition(&snapshot);
        assert!(!exposition.contains("tlsclose_process_fds_exhausted_seconds{"));
        assert!(!exposition.contains("tlsclose_process_open_fds{"));
    }
}
