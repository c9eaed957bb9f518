//! Unwinding and naming: what the stacks of a large program cost.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::kernel::{self, Statistics};
use super::plan::Plan;
use super::report::{Goal, Section};
use crate::agent::Agent;
use crate::background::Background;
use crate::http;
use crate::leaky;
use crate::progress::say;
use crate::run::{Log, Output};
use crate::workspace;

/// What the measuring test is called (tlsclose-agent/src/attribution/code_paths/paths/bench.rs).
const TEST: &str = "attribution::code_paths::paths::bench::names_of_a_thousand_stacks";

/// Connections that a program without frame pointers accepts, and how many per second.
const ACCEPTED: u32 = 2000;
const PER_SECOND: u32 = 200;

pub fn measure(plan: &Plan, log: &mut Log) -> Result<Section> {
    // The agent's own program with DWARF is a large one.
    let mut build = workspace::cargo("build");
    build.args(["--package", "tlsclose-agent"]);
    log.step("building tlsclose with debug information", build)?;
    let mut measured: Vec<HashMap<String, f64>> = Vec::new();
    for round in 1..=plan.rounds.min(5) {
        say(&format!("names: round {round}"));
        measured.push(name_stacks(log)?);
    }
    let median = |key: &str| {
        let mut values: Vec<f64> = measured.iter().filter_map(|round| round.get(key).copied()).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().with_context(|| format!("{TEST} printed no {key}"))
    };
    let how = format!(
        "1,000 different stacks of 20 frames in a program of {} MiB with DWARF, this agent's own, unwound from copies by \
         its tables and named with a new helper; medians of {} rounds. A copied stack is the whole run of the program at \
         the end of accept4, for {ACCEPTED} connections of a program without frame pointers.",
        median("size_mib")?,
        measured.len()
    );
    let mut section = Section::new("Code paths of a large program", &how);
    section.row("unwound and named (s)", median("first_ms")? / 1e3, Goal::at_most(3.0, 1.5));
    section.row("of that, unwound (s)", median("unwound_ms")? / 1e3, None);
    section.row("named again (ms)", median("cached_ms")?, Goal::at_most(20.0, 10.0));
    section.row(
        "memory of the helper, without the file itself (MiB)",
        median("helper_mib")?,
        Goal::at_most(200.0, 100.0),
    );
    section.row("a copied stack, in the kernel (µs)", copied_stack(plan)? / 1e3, Goal::at_most(10.0, 5.0));
    Ok(section)
}

/// What one run of the measuring test prints.
fn name_stacks(log: &mut Log) -> Result<HashMap<String, f64>> {
    let mut test = workspace::cargo("test");
    test.args(["--release", "--package", "tlsclose-agent", "--bin", "tlsclose", "--"]);
    test.args(["--ignored", "--exact", TEST, "--nocapture"]);
    test.env("TLSCLOSE_BENCH_PROGRAM", workspace::target("debug/tlsclose"));
    let finished = log.run("naming 1,000 stacks", test, Output::Log)?;
    if !finished.status.success() {
        bail!("{TEST} failed; its output is in target/bench/build.log");
    }
    let pairs = finished.lines.iter().filter_map(|line| line.split_once('='));
    Ok(pairs.filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?))).collect())
}

/// Nanoseconds of a run of the accept4 program where each run copies a stack.
fn copied_stack(plan: &Plan) -> Result<f64> {
    let _statistics = Statistics::enable()?;
    let agent = Agent::start(&plan.directory.join("agent"), &["--max-stack-copies-per-second", "10000"])?;
    let run = || -> Result<(f64, f64)> {
        let runs = kernel::runs(agent.pid())?;
        let accept = runs.iter().find(|program| program.name == "exit_accept4");
        let accept = accept.context("the agent has no program exit_accept4")?;
        Ok((accept.count, accept.nanoseconds))
    };
    let mut frameless = std::process::Command::new(leaky::c_program().with_file_name("leaky-frameless"));
    let (count, rate) = (ACCEPTED.to_string(), PER_SECOND.to_string());
    frameless.args(["eof_forget", "--healthy", "--count", &count, "--rate", &rate, "--for", "60"]);
    let before = run()?;
    let mut program = Background::start("the program", frameless, &plan.directory.join("frameless.log"))?;
    program.wait_for_line("ready", Duration::from_secs(u64::from(ACCEPTED / PER_SECOND) + 20))?;
    let after = run()?;
    let (count, nanoseconds) = (after.0 - before.0, after.1 - before.1);
    if count < f64::from(ACCEPTED) {
        bail!("only {count} of {ACCEPTED} connections were accepted in time");
    }
    let metrics = http::get(&agent.socket, "/metrics")?.0;
    let lost = metrics.lines().filter(|line| line.starts_with("tlsclose_lost_total{what=\"stacks\""));
    let lost: f64 = lost.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
    if lost > 0.01 * count {
        bail!("{lost} stacks were lost, so that {count} runs say nothing of what a copy costs");
    }
    Ok(nanoseconds / count)
}
