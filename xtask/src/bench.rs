//! `cargo xtask bench`: what tlsclose costs, measured beside doing without it and beside others.

mod awake;
mod calls;
mod census;
mod crowd;
mod hooks;
mod kernel;
mod load;
mod names;
mod observer;
mod plan;
mod process;
mod report;
mod round;
mod slices;
mod statistics;
mod stolen;
mod throughput;

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use self::plan::Plan;
use self::stolen::Stolen;
use crate::compile;
use crate::leaky;
use crate::progress::say;
use crate::run::Log;
use crate::setup;
use crate::workspace;

/// Percent of the processors' time that others may take while ratios still say something.
const QUIET: f64 = 1.0;

/// Measure what tlsclose costs on this machine, beside tcpstates, tcplife, ss and lsof.
///
/// Needs root and a quiet machine: all loads run on loopback, are bounded in time, and end with
/// this command. Without --write nothing but target/bench is touched.
#[derive(clap::Args)]
pub struct Options {
    /// What to measure
    #[arg(value_enum, default_value_t = What::All)]
    what: What,
    /// How often each way is measured; medians are shown
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..=200))]
    rounds: u32,
    /// How long each load of nginx lasts
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=120))]
    seconds: u64,
    /// Write the results into docs/benchmarks.md
    #[arg(long)]
    write: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// A new connection for every request
    Churn,
    /// Requests on connections that stay
    Keepalive,
    /// Both with TLS
    Tls,
    /// What TLS adds to a send and to a read
    Calls,
    /// 99,000 leaked sockets, and how soon a leak is found
    Census,
    /// 1,000,000 descriptors and 50,000 tasks
    Crowd,
    /// Unwinding and naming the stacks of a large program
    Names,
    /// All of these
    All,
}

pub fn run(options: &Options) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("only root may load programs into the kernel: run 'cargo xtask bench' as root");
    }
    setup::run(&setup::Options { bench: true, ..setup::Options::default() })?;
    setup::mount_tracefs()?;
    let directory = workspace::target("bench");
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let mut log = Log::create(directory.join("build.log"))?;
    compile::release(&mut log)?;
    leaky::c(&mut log)?;
    leaky::c_variants(&mut log)?;

    let load = Duration::from_secs(options.seconds);
    let plan = Plan { rounds: options.rounds, load, directory };
    let wanted = |what| options.what == What::All || options.what == what;
    let mut sections = Vec::new();
    let before = Stolen::now()?;
    if wanted(What::Churn) {
        sections.push(throughput::churn(&plan)?);
    }
    if wanted(What::Keepalive) {
        sections.push(throughput::keepalive(&plan)?);
    }
    if wanted(What::Tls) {
        sections.push(throughput::tls(&plan)?);
    }
    if wanted(What::Calls) {
        sections.push(calls::measure(&plan)?);
    }
    if wanted(What::Census) {
        sections.push(census::measure(&plan)?);
    }
    if wanted(What::Crowd) {
        sections.push(crowd::measure(&plan)?);
    }
    if wanted(What::Names) {
        sections.push(names::measure(&plan, &mut log)?);
    }
    let stolen = Stolen::now()?.percent_since(&before);
    for section in &sections {
        println!("\n{}", section.text());
    }
    if stolen > QUIET {
        say(&format!("this machine is not quiet: others took {stolen:.1} % of its processors' time"));
    }
    if options.write {
        let path = workspace::root().join("docs/benchmarks.md");
        report::write(&path, &sections, stolen)?;
        say(&format!("wrote {}", path.display()));
    }
    Ok(())
}
