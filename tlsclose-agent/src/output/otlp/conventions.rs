//! What OpenTelemetry's semantic conventions call what the agent exports.
//!
//! Everything else is called `tlsclose.…`, without the suffix that says the unit: a collector that
//! writes Prometheus's format makes the names of `/metrics` of them again.

/// Metrics of the agent's own process (semantic conventions for processes); None has no such name.
pub const OWN: [(&str, Option<&str>); 6] = [
    ("process_cpu_seconds", Some("process.cpu.time")),
    ("process_resident_memory_bytes", Some("process.memory.usage")),
    ("process_virtual_memory_bytes", Some("process.memory.virtual")),
    ("process_open_fds", Some("process.unix.file_descriptor.count")),
    ("process_threads", Some("process.thread.count")),
    ("process_start_time_seconds", None),
];

/// Labels that the semantic conventions have a name for.
const ATTRIBUTES: [(&str, &str); 5] = [
    ("namespace", "k8s.namespace.name"),
    ("pod", "k8s.pod.name"),
    ("container", "k8s.container.name"),
    // "The name of the process executable", on Linux that of /proc/PID/status.
    ("comm", "process.executable.name"),
    ("state", "network.connection.state"),
];

/// States that the semantic conventions spell otherwise.
const STATES: [(&str, &str); 4] =
    [("close", "closed"), ("fin_wait1", "fin_wait_1"), ("fin_wait2", "fin_wait_2"), ("syn_recv", "syn_received")];

/// Name and unit of a family; None for what another name says already.
pub fn metric(family: &str) -> Option<(String, &'static str)> {
    let (bare, unit) = match family {
        name if name.ends_with("_seconds") => (name.trim_end_matches("_seconds"), "s"),
        name if name.ends_with("_bytes") => (name.trim_end_matches("_bytes"), "By"),
        name => (name, ""),
    };
    let name = match OWN.iter().find(|(own, _)| *own == family) {
        Some((_, name)) => (*name)?.to_owned(),
        None => bare.replacen('_', ".", 1),
    };
    Some((name, unit))
}

/// Key and value of the attribute that says what a label says.
pub fn attribute<'a>(label: &'a str, value: &'a str) -> (&'a str, &'a str) {
    let known = ATTRIBUTES.iter().find(|(name, _)| *name == label);
    let spelled = STATES.iter().find(|(state, _)| label == "state" && *state == value);
    (known.map_or(label, |(_, known)| known), spelled.map_or(value, |(_, spelled)| spelled))
}
