//! What watching TLS adds to one send and to one read, in the kernel's account of the programs there.

use std::array;
use std::net::UdpSocket;

use anyhow::{Context, Result, bail};

use super::kernel::{Runs, Statistics, runs};
use super::load::{Connections, Server, Transport};
use super::observer::{Observer, Watching};
use super::plan::Plan;
use super::report::{Goal, Section, Table};
use super::statistics::median;
use crate::progress::say;

const READS: &str = "recv_length";
const SENDS: &str = "send_length";

/// Reads of nothing: at these the program does nothing, either.
const EMPTY_READS: u32 = 200_000;

/// Nanoseconds of each run; none where sends are not watched.
#[derive(Clone, Copy)]
struct Costs {
    read: f64,
    send: f64,
}

/// One round.
struct Round {
    /// Of a program that does nothing: what the account takes itself.
    nothing: f64,
    /// Nobody on this host speaks TLS.
    without: Costs,
    /// Calls on TLS.
    on_tls: Costs,
    /// Calls on other sockets, where somebody speaks TLS.
    beside_tls: Costs,
}

pub fn measure(plan: &Plan) -> Result<Section> {
    let server = Server::start(plan)?;
    let _statistics = Statistics::enable()?;
    let mut rounds = Vec::new();
    for round in 1..=plan.rounds {
        let measured = one_round(plan, &server)?;
        let Round { nothing, without, on_tls, beside_tls } = &measured;
        say(&format!(
            "round {round} of {}: nothing {nothing:.0} ns; a read {:.0}, {:.0}, on TLS {:.0} ns; a send {:.0}, {:.0}, \
             on TLS {:.0} ns",
            plan.rounds, without.read, beside_tls.read, on_tls.read, without.send, beside_tls.send, on_tls.send
        ));
        rounds.push(measured);
    }
    Ok(section(plan, &rounds))
}

/// With an agent of its own: how long ago TLS was seen is nothing that another one would know.
fn one_round(plan: &Plan, server: &Server) -> Result<Round> {
    let Watching::Agent(agent) = Observer::Agent.start(&plan.directory)? else { bail!("the agent did not start") };
    let ask = |transport| server.ask(Connections::Kept, transport, plan.load);
    let during = |calls: &dyn Fn() -> Result<()>| {
        let before = runs(agent.pid())?;
        calls()?;
        let after = runs(agent.pid())?;
        Ok::<_, anyhow::Error>(Costs { read: cost(READS, &before, &after)?, send: cost(SENDS, &before, &after)? })
    };
    let costs = |transport| during(&|| ask(transport).map(drop));
    let nothing = during(&read_nothing)?.read;
    let without = costs(Transport::Plain)?;
    if without.send != 0.0 {
        bail!("sends are watched before anybody spoke TLS");
    }
    // Connections that had begun before sends were watched are not followed.
    ask(Transport::Tls)?;
    Ok(Round { nothing, without, on_tls: costs(Transport::Tls)?, beside_tls: costs(Transport::Plain)? })
}

fn read_nothing() -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0").context("no socket")?;
    socket.set_nonblocking(true).context("a socket that blocks")?;
    for _ in 0..EMPTY_READS {
        if socket.recv(&mut [0]).is_ok() {
            bail!("somebody sent something to {socket:?}");
        }
    }
    Ok(())
}

fn cost(name: &str, before: &[Runs], after: &[Runs]) -> Result<f64> {
    let program = after.iter().find(|runs| runs.name == name);
    let (count, nanoseconds) = program.with_context(|| format!("this kernel has no place for {name}"))?.since(before);
    Ok(if count > 0.0 { nanoseconds / count } else { 0.0 })
}

fn section(plan: &Plan, rounds: &[Round]) -> Section {
    let mut section = Section::new(
        "One send, one read, and TLS",
        &format!(
            "The same nginx and wrk on connections that stay: without TLS on the host, with TLS, and without it beside \
             TLS; medians of {} rounds of loads of {} s. Sends are watched only where there is TLS: theirs is all that \
             the program takes, less what the kernel's account of it takes itself, as a program shows that does nothing.",
            plan.rounds,
            plan.load.as_secs()
        ),
    );
    let of = |select: &dyn Fn(&Round) -> f64| median(&rounds.iter().map(select).collect::<Vec<f64>>());
    let more = |costs: fn(&Round) -> Costs| {
        [of(&|round| costs(round).read - round.without.read), of(&|round| costs(round).send - round.nothing)]
    };
    let [read, send] = more(|round| round.beside_tls);
    let beside = Goal::at_most(60.0, 30.0);
    section.row("a read without TLS, where there is TLS (ns more)", read, beside);
    section.row("a send without TLS, where there is TLS (ns more)", send, beside);
    let [read, send] = more(|round| round.on_tls);
    let on_tls = Goal::at_most(150.0, 100.0);
    section.row("a read on TLS (ns more)", read, on_tls);
    section.row("a send on TLS (ns more)", send, on_tls);
    let mut table =
        Table::new(&["ns per run", "doing nothing", "without TLS on the host", "without TLS, beside it", "on TLS"]);
    let states: [fn(&Round) -> Costs; 3] = [|round| round.without, |round| round.beside_tls, |round| round.on_tls];
    for (name, select) in [(READS, (|costs| costs.read) as fn(Costs) -> f64), (SENDS, |costs| costs.send)] {
        let cells: [String; 3] = array::from_fn(|i| format!("{:.0}", of(&|round| select(states[i](round)))));
        let nothing = of(&|round| round.nothing);
        table.row(&[&[format!("`{name}`"), format!("{nothing:.0}")], &cells[..]].concat());
    }
    section.table(table);
    section
}
