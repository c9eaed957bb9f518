//! Descriptors of the programs that have a lingering socket: how long until they run out.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

#[cfg(test)]
use super::family::Declared;
use super::family::{Family, Type};
use crate::api::{ProcessSeries, Snapshot};

const BY_IDENTITY: [&str; 4] = ["namespace", "pod", "container", "comm"];

const OPEN: Family<4> = Family::new(
    Type::Gauge,
    "tlsclose_process_open_fds",
    BY_IDENTITY,
    "Open descriptors of the worst process of a workload with a lingering socket.",
);
const MAX: Family<4> =
    Family::new(Type::Gauge, "tlsclose_process_max_fds", BY_IDENTITY, "Limit of that process's descriptors.");
const EXHAUSTED: Family<4> = Family::new(
    Type::Gauge,
    "tlsclose_process_fds_exhausted_seconds",
    BY_IDENTITY,
    "Seconds until that process has no descriptor left, at the present growth.",
);
const EMFILE: Family<4> = Family::new(
    Type::Counter,
    "tlsclose_process_emfile_errors_total",
    BY_IDENTITY,
    "Calls of a workload with a lingering socket that failed because no descriptor was left.",
);

#[cfg(test)]
pub fn families() -> Vec<Declared> {
    [OPEN, MAX, EXHAUSTED, EMFILE].iter().map(Family::declared).collect()
}

fn labels(series: &ProcessSeries) -> [&str; 4] {
    let identity = &series.identity;
    [&identity.namespace, &identity.pod, &identity.container, &identity.comm]
}

pub fn encode(snapshot: &Snapshot, encoder: &mut DescriptorEncoder) -> fmt::Result {
    let all = &snapshot.processes;
    let mut open = OPEN.open(encoder)?;
    for (series, fds) in all.iter().filter_map(|it| Some((it, it.open_fds?))) {
        open.gauge(labels(series), fds)?;
    }
    let mut max = MAX.open(encoder)?;
    for (series, fds) in all.iter().filter_map(|it| Some((it, it.max_fds?))) {
        max.gauge(labels(series), fds)?;
    }
    let mut exhausted = EXHAUSTED.open(encoder)?;
    for (series, seconds) in all.iter().filter_map(|it| Some((it, it.fds_exhausted_seconds?))) {
        exhausted.gauge_f64(labels(series), seconds)?;
    }
    let mut emfile = EMFILE.open(encoder)?;
    for series in all {
        emfile.counter(labels(series), series.emfile_errors_total)?;
    }
    Ok(())
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
