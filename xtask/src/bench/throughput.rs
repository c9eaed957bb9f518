//! How many requests a second are left when somebody watches, and what the programs take of it.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::awake::Awake;
use super::hooks::Part;
use super::kernel::{Statistics, runs};
use super::load::{Connections, Server, Transport};
use super::observer::{Observer, Watching};
use super::plan::Plan;
use super::report::{Goal, Section, Table};
use super::round::{Round, ratios};
use super::slices;
use super::statistics::{median, median_interval, percentile};
use crate::progress::say;

/// How it is measured: see [`Awake`].
const AWAKE: &str = "Loops of the idle class keep the processors awake.";

pub fn churn(plan: &Plan) -> Result<Section> {
    let _awake = Awake::all(&plan.directory)?;
    let server = Server::start(plan)?;
    let sliced = slices::measure(plan, &server, Connections::OneEach, Transport::Plain, &[Part::All])?;
    let observers = [Observer::Agent, Observer::Tcpstates, Observer::Tcplife];
    let measured = in_turns(plan, &server, Connections::OneEach, Transport::Plain, &observers)?;
    let programs = time_in_programs(plan, &server, Transport::Plain)?;

    let mut section = Section::new(
        "A new connection for every request",
        &format!(
            "nginx with one worker and wrk with 64 connections on the same machine; each connection is opened, \
             used and closed at both ends here. {AWAKE} {} Beside others, which cannot come and go so fast: {}.",
            sliced.in_words(),
            plan.in_words()
        ),
    );
    let per_connection: f64 = programs.iter().map(|program| program.microseconds).sum();
    section.row("throughput with the agent ÷ without", sliced.ratio(), Goal::at_least(0.90, 0.97));
    section.row("BPF time per connection, both ends, all programs (µs)", per_connection, Goal::at_most(3.0, 1.5));
    section.table(Measured::of_parts(sliced.rounds).table());
    section.table(measured.table());
    section.table(program_table(&programs));
    Ok(section)
}

pub fn keepalive(plan: &Plan) -> Result<Section> {
    let _awake = Awake::all(&plan.directory)?;
    let server = Server::start(plan)?;
    let kept = slices::measure(plan, &server, Connections::Kept, Transport::Plain, &Part::ALL)?;
    let mut section = Section::new(
        "Requests on connections that stay",
        &format!(
            "The same nginx and wrk, without closing. {AWAKE} {} [What it is that costs](design/hooks.md#measured).",
            kept.in_words()
        ),
    );
    section.row("throughput with the agent ÷ without", kept.ratio(), Goal::at_least(0.97, 0.98));
    section.table(Measured::of_parts(kept.rounds).table());
    Ok(section)
}

pub fn tls(plan: &Plan) -> Result<Section> {
    let _awake = Awake::all(&plan.directory)?;
    let server = Server::start(plan)?;
    let churn = slices::measure(plan, &server, Connections::OneEach, Transport::Tls, &[Part::All])?;
    let kept = slices::measure(plan, &server, Connections::Kept, Transport::Tls, &[Part::All])?;
    let programs = time_in_programs(plan, &server, Transport::Tls)?;

    let mut section = Section::new(
        "nginx with TLS",
        &format!(
            "The same nginx and wrk over TLS. {AWAKE} A connection each: {} Kept connections: {}",
            churn.in_words(),
            kept.in_words()
        ),
    );
    let per_connection: f64 = programs.iter().map(|program| program.microseconds).sum();
    section.row("a connection each: throughput with the agent ÷ without", churn.ratio(), Goal::at_least(0.90, 0.97));
    section.row("kept connections: throughput with the agent ÷ without", kept.ratio(), Goal::at_least(0.97, 0.98));
    section.row("BPF time per connection, both ends, all programs (µs)", per_connection, None);
    section.table(Measured::of_parts(churn.rounds).table());
    section.table(Measured::of_parts(kept.rounds).table());
    section.table(program_table(&programs));
    Ok(section)
}

impl Plan {
    fn in_words(&self) -> String {
        format!(
            "medians of {} rounds of loads of {} s, each round without, with, with, without",
            self.rounds,
            self.load.as_secs()
        )
    }
}

/// The rounds of each who watched.
struct Measured {
    rounds: Vec<(&'static str, Vec<Round>)>,
}

impl Measured {
    fn of_parts(rounds: Vec<(Part, Vec<Round>)>) -> Self {
        Self { rounds: rounds.into_iter().map(|(part, rounds)| (part.name(), rounds)).collect() }
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&[
            "who watches",
            "requests/s without",
            "with",
            "ratio",
            "its 95 % interval",
            "middle half of the ratios",
        ]);
        for (who, rounds) in &self.rounds {
            let per_second = |of: fn(&Round) -> f64| median(&rounds.iter().map(of).collect::<Vec<f64>>()) / 2.0;
            let ratios = ratios(rounds);
            let (low, high) = median_interval(&ratios);
            table.row(&[
                (*who).to_owned(),
                format!("{:.0}", per_second(|round| round.without)),
                format!("{:.0}", per_second(|round| round.with)),
                format!("{:.3}", median(&ratios)),
                format!("{low:.3} – {high:.3}"),
                format!("{:.3} – {:.3}", percentile(&ratios, 25), percentile(&ratios, 75)),
            ]);
        }
        table
    }
}

fn in_turns(
    plan: &Plan,
    server: &Server,
    connections: Connections,
    transport: Transport,
    observers: &[Observer],
) -> Result<Measured> {
    let mut rounds: Vec<(Observer, Vec<Round>)> = observers.iter().map(|observer| (*observer, Vec::new())).collect();
    let ask = || Ok::<f64, anyhow::Error>(server.ask(connections, transport, plan.load)?.per_second);
    ask()?; // the first load of a new server is slower
    for round in 1..=plan.rounds {
        let mut words = Vec::new();
        for (observer, measured) in &mut rounds {
            let before = ask()?;
            let watching = observer.start(&plan.directory)?;
            let with = ask()? + ask()?;
            drop(watching);
            let without = before + ask()?;
            words.push(format!("{} {:.3}", observer.name(), with / without));
            measured.push(Round { without, with });
        }
        say(&format!("round {round} of {}: {}", plan.rounds, words.join(", ")));
    }
    Ok(Measured { rounds: rounds.into_iter().map(|(observer, rounds)| (observer.name(), rounds)).collect() })
}

/// What one program takes of one connection.
struct Share {
    name: String,
    runs: f64,
    microseconds: f64,
}

/// In rounds of their own, since counting costs time as well.
fn time_in_programs(plan: &Plan, server: &Server, transport: Transport) -> Result<Vec<Share>> {
    let _statistics = Statistics::enable()?;
    let mut rounds: BTreeMap<String, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    for round in 1..=plan.rounds {
        let Watching::Agent(agent) = Observer::Agent.start(&plan.directory)? else {
            bail!("the agent did not start");
        };
        let before = runs(agent.pid())?;
        let asked = server.ask(Connections::OneEach, transport, plan.load)?;
        let after = runs(agent.pid())?;
        if after.is_empty() {
            bail!("the agent holds no BPF program, so their time cannot be measured");
        }
        let mut total = 0.0;
        for program in &after {
            let (count, nanoseconds) = program.since(&before);
            total += nanoseconds / asked.requests;
            let (counts, times) = rounds.entry(program.name.clone()).or_default();
            counts.push(count / asked.requests);
            times.push(nanoseconds / asked.requests / 1000.0);
        }
        say(&format!("BPF time, round {round} of {}: {total:.0} ns per connection", plan.rounds));
    }
    let shares = rounds.into_iter().map(|(name, (counts, times))| Share {
        name,
        runs: median(&counts),
        microseconds: median(&times),
    });
    Ok(shares.collect())
}

fn program_table(programs: &[Share]) -> Table {
    let mut table = Table::new(&["program", "runs per connection", "ns per run", "ns per connection"]);
    for program in programs.iter().filter(|program| program.runs > 0.0) {
        let nanoseconds = program.microseconds * 1000.0;
        table.row(&[
            format!("`{}`", program.name),
            format!("{:.2}", program.runs),
            format!("{:.0}", nanoseconds / program.runs),
            format!("{nanoseconds:.0}"),
        ]);
    }
    table
}
