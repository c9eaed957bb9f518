//! 99,000 leaked sockets in 6 processes: what the agent needs then, and how soon it finds a leak.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::plan::Plan;
use super::report::{Goal, Section, Table};
use super::statistics::{median, percentile};
use super::{kernel, process};
use crate::agent::Agent;
use crate::background::Background;
use crate::http;
use crate::interrupt;
use crate::leaky;
use crate::progress::say;

const HOLDERS: u32 = 6;
const SOCKETS_EACH: u32 = 16_500;
const SOCKETS: u64 = 99_000;
const REQUESTS: usize = 200;
/// How long the agent is watched for its use of CPU.
const WINDOW: Duration = Duration::from_secs(20);
const LEAK_AFTER: Duration = Duration::from_secs(3);

pub fn measure(plan: &Plan) -> Result<Section> {
    let mut section = Section::new(
        "99,000 leaked sockets",
        &format!(
            "{HOLDERS} processes hold {SOCKETS_EACH} CLOSE_WAIT sockets each, opened while the \
             agent watched with its default limits. CPU over {} s, answers over {REQUESTS} \
             requests with all details on the Unix socket.",
            WINDOW.as_secs()
        ),
    );
    let delay = time_to_finding(plan)?;
    let directory = plan.directory.join("agent");
    let agent = Agent::start(&directory, &["--leak-after", "10s"])?;
    let idle = Usage::of(&agent, "idle")?;
    let _hog = hold_sockets(plan)?;
    wait_until_all_linger(&agent)?;
    let full = Usage::of(&agent, "with 99,000 leaked sockets")?;
    let census = census_milliseconds(&agent)?;
    let leaks = answer_milliseconds(&agent, "/api/v1/leaks")?;
    let metrics = answer_milliseconds(&agent, "/metrics")?;

    let own = |limit, aim| Goal::at_most(limit, aim);
    section.row("census, median (ms)", median(&census), own(90.0, 60.0));
    section.row("`/api/v1/leaks`, p50 (ms)", percentile(&leaks, 50), None);
    section.row("`/api/v1/leaks`, p99 (ms)", percentile(&leaks, 99), own(50.0, 10.0));
    section.row("`/metrics`, p50 (ms)", percentile(&metrics, 50), None);
    section.row("`/metrics`, p99 (ms)", percentile(&metrics, 99), own(20.0, 5.0));
    section.row("agent RSS then (MiB)", full.rss, own(80.0, 40.0));
    section.row("agent RSS idle (MiB)", idle.rss, own(30.0, 15.0));
    section.row("its symbolizer's RSS then (MiB)", full.helper_rss, None);
    section.row("its symbolizer's RSS idle (MiB)", idle.helper_rss, None);
    section.row("kernel memory of all maps then (MiB)", full.maps, own(96.0, 64.0));
    section.row("kernel memory of all maps idle (MiB)", idle.maps, own(64.0, 8.0));
    section.row("agent CPU then, symbolizer included (% of a core)", full.cpu, own(2.0, 1.0));
    section.row("agent CPU idle, symbolizer included (% of a core)", idle.cpu, None);
    let bound = LEAK_AFTER + 2 * delay.interval;
    section.row(
        &format!("half-close to finding, leak-after {} s (s)", LEAK_AFTER.as_secs()),
        delay.seconds,
        own(bound.as_secs_f64(), LEAK_AFTER.as_secs_f64()),
    );
    section.table(beside(&census)?);
    Ok(section)
}

/// What the agent and its helper use.
struct Usage {
    rss: f64,
    helper_rss: f64,
    maps: f64,
    cpu: f64,
}

impl Usage {
    fn of(agent: &Agent, when: &str) -> Result<Usage> {
        say(&format!("watching the agent for {} s, {when}", WINDOW.as_secs()));
        let before = process::cpu_time_of_all(agent.pid())?;
        let start = Instant::now();
        interrupt::sleep(WINDOW)?;
        let used = process::cpu_time_of_all(agent.pid())?.saturating_sub(before);
        let helpers = process::children(agent.pid());
        Ok(Usage {
            rss: process::rss_mib(agent.pid())?,
            helper_rss: helpers.iter().filter_map(|pid| process::rss_mib(*pid).ok()).sum(),
            maps: kernel::map_memory_mib(agent.pid())?,
            cpu: 100.0 * used.as_secs_f64() / start.elapsed().as_secs_f64(),
        })
    }
}

fn hold_sockets(plan: &Plan) -> Result<Background> {
    say(&format!("opening {SOCKETS} sockets whose peers close them"));
    let mut command = Command::new(leaky::c_program());
    command.args(["hog", "--processes", &HOLDERS.to_string()]);
    command.args(["--count", &SOCKETS_EACH.to_string(), "--for", "300"]);
    let mut hog = Background::start("the hog", command, &plan.directory.join("hog.log"))?;
    hog.wait_for_line("ready", Duration::from_secs(120))?;
    Ok(hog)
}

fn wait_until_all_linger(agent: &Agent) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let leaks = agent.leaks()?;
        let sites = leaks["sites"].as_array().cloned().unwrap_or_default();
        let sockets: u64 = sites.iter().filter_map(|site| site["sockets"].as_u64()).sum();
        if sockets >= SOCKETS {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the agent reports {sockets} of {SOCKETS} lingering sockets after 90 s");
        }
        interrupt::sleep(Duration::from_millis(500))?;
    }
}

/// How long each of the next few censuses takes, from the agent's own account.
fn census_milliseconds(agent: &Agent) -> Result<Vec<f64>> {
    const WANTED: usize = 5;
    say(&format!("following {WANTED} censuses"));
    let deadline = Instant::now() + Duration::from_secs(90);
    let mut seen = Vec::new();
    let mut last = Value::Null;
    while seen.len() < WANTED && Instant::now() < deadline {
        let body = agent.get("/api/v1/leaks?limit=1")?;
        let leaks: Value = serde_json::from_str(&body).context("/api/v1/leaks answered no JSON")?;
        let seconds = leaks["census"]["seconds"].clone();
        if seconds != last {
            seen.extend(seconds.as_f64().map(|seconds| seconds * 1000.0));
            last = seconds;
        }
        interrupt::sleep(Duration::from_millis(500))?;
    }
    Ok(seen)
}

fn answer_milliseconds(agent: &Agent, path: &str) -> Result<Vec<f64>> {
    say(&format!("asking for {path} {REQUESTS} times"));
    (0..REQUESTS)
        .map(|_| {
            interrupt::check()?;
            Ok(http::get(&agent.socket, path)?.1.as_secs_f64() * 1000.0)
        })
        .collect()
}

/// The same question, asked of others.
fn beside(census: &[f64]) -> Result<Table> {
    let mut table = Table::new(&["who holds the 99,000 sockets?", "ms"]);
    table.row(&["one census".to_owned(), format!("{:.0}", median(census))]);
    for (program, flags) in [("ss", "-tanp"), ("lsof", "-nP -iTCP")] {
        say(&format!("asking {program} three times"));
        let mut times = Vec::new();
        for _ in 0..3 {
            interrupt::check()?;
            let start = Instant::now();
            let mut command = Command::new(program);
            command.args(flags.split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().with_context(|| format!("{program} does not start"))?;
            times.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        table.row(&[format!("`{program} {flags}`"), format!("{:.0}", median(&times))]);
    }
    Ok(table)
}

struct Delay {
    seconds: f64,
    /// What the agent made of the census interval.
    interval: Duration,
}

/// From the moment that a few sockets are half-closed to the answer that names their process.
fn time_to_finding(plan: &Plan) -> Result<Delay> {
    let mut delays = Vec::new();
    let mut interval = 0.0;
    let leak_after = format!("{}s", LEAK_AFTER.as_secs());
    let flags = ["--leak-after", leak_after.as_str(), "--census-interval", "1s"];
    let agent = Agent::start(&plan.directory.join("agent"), &flags)?;
    for round in 1..=plan.rounds {
        let mut command = Command::new(leaky::c_program());
        command.args(["eof_forget", "--count", "5", "--for", "30"]);
        let mut leaky = Background::start("a leak", command, &plan.directory.join("leaky.log"))?;
        leaky.wait_for_line("ready", Duration::from_secs(10))?;
        let start = Instant::now();
        let path = format!("/api/v1/leaks?pid={}", leaky.pid());
        loop {
            let body = agent.get(&path)?;
            let leaks: Value = serde_json::from_str(&body).context("/api/v1/leaks answered no JSON")?;
            if leaks["sites"].as_array().is_some_and(|sites| !sites.is_empty()) {
                interval = leaks["census"]["interval_seconds"].as_f64().unwrap_or(interval);
                break;
            }
            if start.elapsed() > Duration::from_secs(25) {
                bail!("a leak of 5 sockets was not found within 25 s");
            }
            interrupt::sleep(Duration::from_millis(20))?;
        }
        delays.push(start.elapsed().as_secs_f64());
        say(&format!("round {round} of {}: found after {:.1} s", plan.rounds, start.elapsed().as_secs_f64()));
    }
    Ok(Delay { seconds: median(&delays), interval: Duration::from_secs_f64(interval) })
}
