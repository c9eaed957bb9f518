//! Rules and alerts for Prometheus.

use std::collections::BTreeSet;
use std::process::Command;

use tlsclose_tests::child::{Output, run};
use tlsclose_tests::host::{root, tool};
use tlsclose_tests::seconds;

use crate::read;

fn promtool(arguments: &[&str]) -> Output {
    let mut promtool = Command::new(tool("promtool"));
    run(promtool.current_dir(root().join("deploy/prometheus")).args(arguments), seconds(60))
}

/// The rest of each line that starts with `prefix`, after its indentation.
fn lines_after<'a>(text: &'a str, prefix: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.trim_start().strip_prefix(prefix)).map(str::trim).collect()
}

#[test]
fn prometheus_accepts_the_rules_and_they_do_what_they_say() {
    for arguments in [&["check", "rules", "rules.yaml", "alerts.yaml"][..], &["test", "rules", "tests.yaml"]] {
        let output = promtool(arguments);
        assert_eq!(output.code, Some(0), "{arguments:?}: {}{}", output.stdout, output.stderr);
    }
}

#[test]
fn every_alert_is_tested_firing_and_silent_and_has_a_runbook() {
    let (alerts, tests) = (read("deploy/prometheus/alerts.yaml"), read("deploy/prometheus/tests.yaml"));
    let overview = read("docs/alerts.md");
    let names = lines_after(&alerts, "- alert:");
    assert!(names.len() >= 5, "{names:?}");
    let cases: Vec<&str> = tests.split("- alertname: ").skip(1).collect();
    for name in names {
        let of_it: Vec<&&str> = cases.iter().filter(|case| case.lines().next() == Some(name)).collect();
        assert!(of_it.iter().any(|case| case.contains("exp_alerts: []")), "{name} is never tested silent");
        assert!(of_it.iter().any(|case| case.contains("exp_labels")), "{name} is never tested firing");
        let runbook = format!("runbooks/{name}.md");
        assert!(read(&format!("docs/{runbook}")).starts_with(&format!("# {name}\n")), "{name} has no runbook");
        assert!(alerts.contains(&format!("docs/{runbook}\n")), "{name} does not link to its runbook");
        assert!(overview.contains(&format!("[{name}]({runbook})")), "{name} is not in docs/alerts.md");
    }
}

#[test]
fn every_metric_that_a_rule_asks_for_exists() {
    let known: BTreeSet<String> = lines_after(&read("docs/metrics.md"), "| `")
        .into_iter()
        .filter_map(|line| line.split('`').next())
        .map(str::to_owned)
        .collect();
    for file in ["deploy/prometheus/rules.yaml", "deploy/prometheus/alerts.yaml"] {
        let text = read(file);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let words = text.split(|c| !is_name(c)).filter(|word| word.starts_with("tlsclose_"));
        for word in words {
            assert!(known.contains(word), "{file} asks for {word}, which docs/metrics.md does not know");
        }
    }
}
