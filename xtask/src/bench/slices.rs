//! Requests while the agent's hooks come and go.
//!
//! What a virtual machine gets of its processors changes by tenths within a second, and two loads of
//! a second one after the other would say nothing about a percent. So the hooks are attached and
//! detached in the midst of one load, for slices of it that are side by side. What the agent itself
//! takes of the processors during such a load is measured apart and taken off.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::hooks::{Hooks, Part};
use super::load::{Connections, Load, Server, Transport};
use super::plan::Plan;
use super::process;
use super::round::{Round, ratios};
use super::statistics::median;
use crate::agent::Agent;
use crate::interrupt;
use crate::progress::say;

/// A slice of the load: long enough for thousands of requests.
const SLICE: Duration = Duration::from_millis(40);
/// After hooks were attached or detached, which stops all processors for a moment.
const SETTLE: Duration = Duration::from_millis(10);
/// New connections are made, and TLS is agreed upon.
const CONNECT: Duration = Duration::from_millis(120);
/// Turns of four slices in what a round of whole loads is elsewhere.
const TURNS: u32 = 40;
/// How long the agent itself is watched under load: two censuses at least.
const AGENT: Duration = Duration::from_secs(12);

/// What is left of the requests, and what the agent takes.
pub struct Sliced {
    /// Of each part of the hooks; all of them first.
    pub rounds: Vec<(Part, Vec<Round>)>,
    /// Of all processors' time, as a part of 1.
    pub agent: f64,
}

impl Sliced {
    pub fn ratio(&self) -> f64 {
        median(&ratios(&self.rounds[0].1)) - self.agent
    }

    pub fn in_words(&self) -> String {
        format!(
            "Medians of {} turns of slices of the load without, with, with and without the agent's hooks; less \
             the {:.2} % of all processors that the agent takes meanwhile.",
            self.rounds[0].1.len(),
            self.agent * 100.0
        )
    }
}

/// Turns of slices without, with, with and without the hooks, and parts of them.
pub fn measure(
    plan: &Plan,
    server: &Server,
    connections: Connections,
    transport: Transport,
    parts: &[Part],
) -> Result<Sliced> {
    let agent = Agent::start(&plan.directory.join("agent"), &[])?;
    let load = server.load(connections, transport)?;
    let share = share_of(&agent)?;
    let mut hooks = Hooks::of(agent.pid())?;
    drop(agent);
    // The kernel side follows TLS from the first byte of a connection on.
    let stays = (connections, transport) == (Connections::Kept, Transport::Tls);
    let running = (!stays).then_some(load);
    let mut rounds: Vec<_> = parts.iter().map(|part| (*part, Vec::new())).collect();
    for round in 1..=plan.rounds {
        for _ in 0..TURNS {
            for (part, rounds) in &mut rounds {
                interrupt::check()?;
                let mut slice = |with: bool| {
                    slice(server, connections, transport, running.as_ref(), with.then_some((&mut hooks, *part)))
                };
                let without = slice(false)?;
                let with = slice(true)? + slice(true)?;
                rounds.push(Round { without: without + slice(false)?, with });
            }
        }
        let so_far = rounds.iter().map(|(part, rounds)| format!("{} {:.3}", part.name(), median(&ratios(rounds))));
        say(&format!("round {round} of {}, so far: {}", plan.rounds, so_far.collect::<Vec<_>>().join(", ")));
    }
    Ok(Sliced { rounds, agent: share })
}

/// Requests per second in a slice.
fn slice(
    server: &Server,
    connections: Connections,
    transport: Transport,
    running: Option<&Load>,
    hooks: Option<(&mut Hooks, Part)>,
) -> Result<f64> {
    let _attached = hooks.map(|(hooks, part)| hooks.attach(part)).transpose()?;
    let _own = match running {
        Some(_) => None,
        None => Some(server.load(connections, transport)?),
    };
    interrupt::sleep(if running.is_some() { SETTLE } else { CONNECT })?;
    let (begin, before) = (Instant::now(), requests(connections)?);
    interrupt::sleep(SLICE)?;
    let (time, after) = (begin.elapsed(), requests(connections)?);
    Ok((after - before) / time.as_secs_f64())
}

/// What the agent and its helpers take of all processors.
fn share_of(agent: &Agent) -> Result<f64> {
    let (begin, before) = (Instant::now(), process::cpu_time_of_all(agent.pid())?);
    interrupt::sleep(AGENT)?;
    let used = process::cpu_time_of_all(agent.pid())?.saturating_sub(before);
    let processors = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    Ok(used.as_secs_f64() / begin.elapsed().as_secs_f64() / processors)
}

/// Requests that were answered in this network namespace so far, but for a constant.
fn requests(connections: Connections) -> Result<f64> {
    let path = Path::new("/proc/net/snmp");
    let text = fs::read_to_string(path).context("cannot read /proc/net/snmp")?;
    let requests = match connections {
        Connections::OneEach => counter(&text, "PassiveOpens"),
        // A request is a segment, and so is its answer; both arrive here.
        Connections::Kept => counter(&text, "InSegs").map(|segments| segments / 2.0),
    };
    requests.context("/proc/net/snmp does not count what TCP does")
}

/// `Tcp: … InSegs …` above `Tcp: … 1234 …`.
fn counter(snmp: &str, name: &str) -> Option<f64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let column = lines.next()?.split_whitespace().position(|column| column == name)?;
    lines.next()?.split_whitespace().nth(column)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_tcp_are_read() {
        let snmp = "Ip: InSegs\nIp: 7\nTcp: MaxConn ActiveOpens InSegs OutSegs\nTcp: -1 5 1234 99\nUdp: InSegs\n";
        assert_eq!(counter(snmp, "InSegs"), Some(1234.0));
        assert_eq!(counter(snmp, "ActiveOpens"), Some(5.0));
        for text in ["", "Tcp: MaxConn\nTcp: 1\n", "Tcp: InSegs\n", "Tcp: InSegs\nTcp: many\n"] {
            assert_eq!(counter(text, "InSegs"), None, "{text}");
        }
    }
}
