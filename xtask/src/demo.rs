//! `cargo xtask demo`: a leaking server, caught in the act.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::agent::Agent;
use crate::background::Background;
use crate::compile;
use crate::interrupt;
use crate::leaky;
use crate::progress::{Progress, say};
use crate::run::{self, Log};
use crate::setup;
use crate::workspace;

/// Catch a leaking server in the act, and show the line of code that leaks.
///
/// Installs what is missing, builds everything, starts the agent and a small server that forgets
/// to close its connections, waits for the finding, prints it, and ends all it started.
#[derive(clap::Args)]
pub struct Options {
    /// How long to wait for the finding, in seconds
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
}

const CONNECTIONS_PER_SECOND: u64 = 8;
/// The name that the server's process has.
const COMM: &str = "leaky";

pub fn run(options: &Options) -> Result<()> {
    setup::run(&setup::Options::default())?;
    setup::mount_tracefs()?;
    let directory = workspace::target("demo");
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let mut log = Log::create(directory.join("build.log"))?;
    compile::release(&mut log)?;
    leaky::c(&mut log)?;

    let mut agent =
        Agent::start(&directory, &["--leak-after", "3s", "--census-interval", "1s", "--leak-window", "10s"])?;
    say(&format!("the agent runs (pid {}); metrics on http://{}/metrics", agent.pid(), agent.address));

    let mut server = Command::new(leaky::c_program());
    let connections = CONNECTIONS_PER_SECOND * options.patience;
    server.args(["eof_forget", "--comm", COMM]);
    server.args(["--rate", &CONNECTIONS_PER_SECOND.to_string()]);
    server.args(["--count", &connections.to_string(), "--for", &options.patience.to_string()]);
    let mut server = Background::start("the leaking server", server, &directory.join("leaky.log"))?;
    say(&format!(
        "a server (pid {}) forgets {CONNECTIONS_PER_SECOND} connections a second: its client \
         closes them, it reads the end and does not close",
        server.pid()
    ));

    wait_for_finding(&mut agent, &mut server, Duration::from_secs(options.patience))?;
    show(&agent)?;
    server.end();
    drop(agent);
    say("everything that was started has ended; `cargo xtask test` is the next thing to try");
    Ok(())
}

fn wait_for_finding(agent: &mut Agent, server: &mut Background, patience: Duration) -> Result<()> {
    let progress = Progress::start("waiting for the agent to be sure that it leaks", true);
    let deadline = Instant::now() + patience;
    loop {
        let leaks = agent.leaks()?;
        let site = site_of(&leaks, server.pid());
        if site.is_some_and(|site| site["status"] == "leaking") {
            progress.done();
            return Ok(());
        }
        let sockets = site.map_or(0, |site| site["sockets"].as_u64().unwrap_or(0));
        progress.show(&format!("{sockets} sockets linger"));
        agent.must_live()?;
        server.must_live()?;
        if Instant::now() > deadline {
            progress.failed();
            bail!("no finding within {} s; what the agent knew: {leaks:#}", patience.as_secs());
        }
        interrupt::sleep(Duration::from_millis(200))?;
    }
}

/// The first site that a process holds sockets of.
fn site_of(leaks: &Value, pid: u32) -> Option<&Value> {
    leaks["sites"].as_array()?.iter().find(|site| {
        let processes = site["processes"].as_array();
        processes.is_some_and(|all| all.iter().any(|process| process["pid"] == pid))
    })
}

fn show(agent: &Agent) -> Result<()> {
    const SHOWN: [&str; 4] = [
        "tlsclose_lingering_sockets",
        "tlsclose_leaking_sockets",
        "tlsclose_lingered_sockets_total",
        "tlsclose_site_info",
    ];
    let mut leaks = Command::new(workspace::program());
    leaks.args(["leaks", "--comm", COMM, "--socket"]).arg(&agent.socket);
    let table = run::output(&mut leaks)?;
    println!("\n$ tlsclose leaks\n\n{}\n", table.trim_end());

    let metrics = agent.get("/metrics")?;
    println!("$ curl http://{}/metrics\n", agent.address);
    let site = agent.leaks()?["sites"][0]["site"].as_str().unwrap_or_default().to_owned();
    for line in metrics.lines().filter(|line| SHOWN.iter().any(|name| line.starts_with(name))) {
        if line.contains(&format!("comm=\"{COMM}\"")) || line.contains(&format!("site=\"{site}\"")) {
            println!("{line}");
        }
    }
    println!();
    Ok(())
}
