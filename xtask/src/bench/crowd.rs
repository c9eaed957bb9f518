//! A host with 1,000,000 descriptors and 50,000 tasks: what a census of it takes.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::plan::Plan;
use super::report::{Goal, Section};
use super::statistics::median;
use super::{kernel, process};
use crate::agent::Agent;
use crate::background::Background;
use crate::interrupt;
use crate::leaky;
use crate::progress::say;

const DESCRIPTORS: u64 = 1_000_000;
const PROCESSES: u64 = 10_000;
const THREADS: u64 = 40_000;
/// Censuses until the interval has been stretched, and then those that are measured.
const STRETCHING: usize = 4;
const MEASURED: usize = 3;
const PID_MAX: &str = "/proc/sys/kernel/pid_max";

pub fn measure(plan: &Plan) -> Result<Section> {
    let mut section = Section::new(
        "1,000,000 descriptors and 50,000 tasks",
        &format!(
            "1,000,000 descriptors are open that are no sockets; 10,000 processes and 40,000 threads sleep. The \
             interval of 5 s stretches; medians and CPU of {MEASURED} censuses at the stretched one, and of what is \
             done besides."
        ),
    );
    let agent = Agent::start(&plan.directory.join("agent"), &[])?;
    let _room = RoomForTasks::make(PROCESSES + THREADS)?;
    let _crowd = gather(plan)?;
    let seen = follow(&agent)?;
    section.row("descriptors", seen.fds, None);
    section.row("census, median (ms)", seen.milliseconds, None);
    section.row("interval then (s)", seen.interval, None);
    section.row("agent CPU then (% of a core)", seen.cpu, Goal::at_most(2.0, 1.0));
    section.row("agent RSS then (MiB)", process::rss_mib(agent.pid())?, Goal::at_most(80.0, 40.0));
    section.row(
        "kernel memory of all maps then (MiB)",
        kernel::map_memory_mib(agent.pid())?,
        Goal::at_most(96.0, 64.0),
    );
    Ok(section)
}

fn gather(plan: &Plan) -> Result<Background> {
    say(&format!("opening {DESCRIPTORS} descriptors, starting {} tasks", PROCESSES + THREADS));
    let mut command = Command::new(leaky::c_program());
    command.args(["crowd", "--count", &DESCRIPTORS.to_string(), "--processes", &PROCESSES.to_string()]);
    command.args(["--idle-threads", &THREADS.to_string(), "--for", "240"]);
    let mut crowd = Background::start("the crowd", command, &plan.directory.join("crowd.log"))?;
    crowd.wait_for_line("ready", Duration::from_secs(60))?;
    Ok(crowd)
}

struct Seen {
    fds: f64,
    milliseconds: f64,
    interval: f64,
    cpu: f64,
}

/// Follows censuses, from the agent's own account and the kernel's of its CPU.
fn follow(agent: &Agent) -> Result<Seen> {
    say(&format!("following {} censuses", STRETCHING + MEASURED));
    for _ in 0..STRETCHING {
        next(agent)?;
    }
    let (before, start) = (process::cpu_time(agent.pid())?, Instant::now());
    let mut censuses = Vec::new();
    for _ in 0..MEASURED {
        censuses.push(next(agent)?);
    }
    let used = process::cpu_time(agent.pid())?.saturating_sub(before);
    let field = |name: &str| {
        let values: Vec<f64> = censuses.iter().filter_map(|census| census[name].as_f64()).collect();
        median(&values)
    };
    if field("fds") < DESCRIPTORS as f64 {
        bail!("a census walked {} descriptors only", field("fds"));
    }
    Ok(Seen {
        fds: field("fds"),
        milliseconds: field("seconds") * 1000.0,
        interval: field("interval_seconds"),
        cpu: 100.0 * used.as_secs_f64() / start.elapsed().as_secs_f64(),
    })
}

/// The next census.
fn next(agent: &Agent) -> Result<Value> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let census = || {
        let body = agent.get("/api/v1/leaks?limit=1")?;
        let leaks: Value = serde_json::from_str(&body).context("/api/v1/leaks answered no JSON")?;
        Ok::<Value, anyhow::Error>(leaks["census"].clone())
    };
    let last = census()?;
    loop {
        let now = census()?;
        if now["seconds"] != last["seconds"] {
            return Ok(now);
        }
        if Instant::now() > deadline {
            bail!("no census within 60 s");
        }
        interrupt::sleep(Duration::from_millis(100))?;
    }
}

/// As many PIDs as are needed; what was allowed before is allowed again when dropped.
struct RoomForTasks {
    before: String,
}

impl RoomForTasks {
    fn make(tasks: u64) -> Result<RoomForTasks> {
        let before = fs::read_to_string(PID_MAX).with_context(|| format!("cannot read {PID_MAX}"))?;
        let allowed: u64 = before.trim().parse().with_context(|| format!("{PID_MAX} is no number"))?;
        let wanted = allowed.max(tasks + 32_768);
        fs::write(PID_MAX, wanted.to_string()).with_context(|| format!("cannot write {PID_MAX}"))?;
        Ok(RoomForTasks { before })
    }
}

impl Drop for RoomForTasks {
    fn drop(&mut self) {
        if let Err(error) = fs::write(PID_MAX, self.before.trim()) {
            say(&format!("{PID_MAX} was {} and stays changed: {error}", self.before.trim()));
        }
    }
}
