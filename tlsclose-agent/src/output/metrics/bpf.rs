//! The agent's programs and maps in the kernel.

use std::fmt;

#[cfg(test)]
use super::family::Declared;
use super::family::Family;
use super::sink::{Sink, Type};
use crate::api::Snapshot;

const SECONDS: Family<1> = Family::new(
    Type::Counter,
    "tlsclose_bpf_program_run_seconds_total",
    ["program"],
    "Time spent in a BPF program, where the kernel's BPF statistics are on.",
);
const RUNS: Family<1> = Family::new(
    Type::Counter,
    "tlsclose_bpf_program_runs_total",
    ["program"],
    "Runs of a BPF program, where the kernel's BPF statistics are on.",
);
const ENTRIES: Family<1> = Family::new(Type::Gauge, "tlsclose_bpf_map_entries", ["map"], "Entries of a BPF map.");
const MAX_ENTRIES: Family<1> =
    Family::new(Type::Gauge, "tlsclose_bpf_map_max_entries", ["map"], "Entries that a BPF map can hold.");

#[cfg(test)]
pub fn families() -> Vec<Declared> {
    [SECONDS, RUNS, ENTRIES, MAX_ENTRIES].iter().map(Family::declared).collect()
}

pub fn encode(snapshot: &Snapshot, sink: &mut dyn Sink) -> fmt::Result {
    let (programs, maps) = (&snapshot.programs, &snapshot.maps);
    SECONDS.write(sink, programs.iter().map(|program| ([&*program.program], program.seconds)))?;
    RUNS.write(sink, programs.iter().map(|program| ([&*program.program], program.runs)))?;
    ENTRIES.write(sink, maps.iter().map(|map| ([&*map.map], map.entries)))?;
    MAX_ENTRIES.write(sink, maps.iter().map(|map| ([&*map.map], map.max_entries)))
}

#[cfg(test)]
mod tests {
    use crate::output::metrics::tests::{assert_exposes, exposition};
    use crate::output::sample;

    #[test]
    fn programs_and_maps_say_what_they_use() {
        let exposition = exposition(&sample::snapshot());
        for line in [
            "tlsclose_bpf_program_run_seconds_total{program=\"transition\"} 0.25\n",
            "tlsclose_bpf_program_runs_total{program=\"transition\"} 1000000\n",
            "tlsclose_bpf_map_entries{map=\"HALF_CLOSED\"} 412\n",
            "tlsclose_bpf_map_max_entries{map=\"HALF_CLOSED\"} 131072\n",
        ] {
            assert_exposes(&exposition, line);
        }
    }
}
