use std::collections::BTreeSet;

use super::*;
use crate::output::sample;

/// What a client that asks for OpenMetrics gets of this snapshot.
pub fn exposition(snapshot: &Snapshot) -> String {
    snapshot_text(&Arc::new(snapshot.clone()), Format::OpenMetrics)
}

#[track_caller]
pub fn assert_exposes(exposition: &str, lines: &str) {
    assert!(exposition.contains(lines), "--- not found:\n{lines}\n--- in:\n{exposition}");
}

/// Names, types and labels of the table in the documentation.
fn documented() -> Vec<(String, String, Vec<String>)> {
    let text = include_str!("../../../../docs/metrics.md");
    let code = |cell: &str| cell.trim().trim_matches('`').to_owned();
    text.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
            assert_eq!(cells.len(), 5, "{line}");
            assert!(cells.iter().skip(3).all(|cell| !cell.trim().is_empty()), "{line}");
            let labels = cells[2].split(',').map(code).filter(|label| !label.is_empty());
            (code(cells[0]), code(cells[1]), labels.collect())
        })
        .collect()
}

#[test]
fn the_documentation_lists_what_the_code_exports() {
    let owned = |text: &&str| (*text).to_owned();
    let declared: Vec<_> = families()
        .into_iter()
        .map(|family| {
            let labels = family.labels.iter().map(owned).collect();
            (family.name.to_owned(), family.kind.to_owned(), labels)
        })
        .collect();
    assert_eq!(documented(), declared);
}

#[test]
fn what_is_exported_is_declared() {
    let snapshot = Arc::new(sample::snapshot());
    let format = Format::Prometheus;
    let text = snapshot_text(&snapshot, format) + &own_text(format);
    let exported: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let declared: BTreeSet<&str> = families().iter().map(|family| family.name).collect();
    assert_eq!(exported, declared);
}

#[test]
fn both_formats_end_and_name_counters_as_they_should() {
    let snapshot = Arc::new(sample::snapshot());
    let openmetrics = snapshot_text(&snapshot, Format::OpenMetrics) + &own_text(Format::OpenMetrics);
    assert!(openmetrics.ends_with("# EOF\n"));
    assert_eq!(openmetrics.matches("# EOF").count(), 1);
    assert_exposes(&openmetrics, "# TYPE tlsclose_lost counter\n");
    let prometheus = snapshot_text(&snapshot, Format::Prometheus) + &own_text(Format::Prometheus);
    assert!(!prometheus.contains("# EOF"));
    assert_exposes(
        &prometheus,
        "# HELP tlsclose_lost_total What the agent should have recorded and could not, by reason.\n# TYPE tlsclose_lost_total counter\n",
    );
    assert_exposes(&prometheus, "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total ");
}

#[test]
fn help_needs_no_escaping() {
    let snapshot = Arc::new(sample::snapshot());
    let text = snapshot_text(&snapshot, Format::OpenMetrics);
    for line in text.lines().filter(|line| line.starts_with("# HELP")) {
        assert!(!line.contains(['"', '\\']), "{line}");
    }
}

/// Prometheus's own linter, where it is installed.
#[test]
fn promtool_has_nothing_to_say() {
    use std::io::Write;
    use std::process::{Command, Stdio};

    let Ok(mut promtool) = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    else {
        eprintln!("skipped: promtool is not installed (Debian package: prometheus)");
        return;
    };
    let mut snapshot = sample::snapshot();
    snapshot.series[0].identity.comm = "a\"b\\c\nd".to_owned();
    let snapshot = Arc::new(snapshot);
    let text = snapshot_text(&snapshot, Format::Prometheus) + &own_text(Format::Prometheus);
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}
