//! `cargo xtask vm`: the tests on other kernels, each in a virtual machine of its own.

mod guest;
mod here;
mod initramfs;
mod kernels;
pub mod qemu;
mod table;

use std::cmp::Reverse;
use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use self::guest::Guest;
pub use self::guest::Outcome;
use self::kernels::Kernel;
pub use self::kernels::{ARM64, Apt, KERNELS, image};
use self::table::Tested;
use crate::compile;
use crate::leaky;
use crate::progress::say;
use crate::run::Log;
use crate::setup;
use crate::workspace;

/// What is tested on every kernel unless a filter says otherwise.
const TESTS: [&str; 21] = [
    "a_thousand_leaks_in_a_churn",
    "aborts::",
    "accept_queue::",
    "btf::",
    "descriptors::",
    "doctor::",
    "findings::",
    "ledger::",
    "lifecycle::",
    "maps_take_their_memory",
    "no_program_takes_a_verifier",
    "python::",
    "read_hooks::",
    "rights::",
    "shared::",
    "sigterm_ends_it",
    "spins::",
    "system_calls_are_watched",
    "the_capabilities_of_the_unit",
    "the_doctor_finds",
    "tls::",
];

/// How the kernel of this machine is called on the command line.
const HERE: &str = "here";

/// Run the tests on other kernels, in QEMU without hardware support.
///
/// Fetches each kernel as a Debian package into target/vm, boots it with an initramfs that holds
/// the released program and its tests, and prints a table of tests and kernels. A guest that
/// panics, stalls or overruns is ended; its console is kept in target/vm. As many run at once as
/// there are processors, each in 2 GiB of memory.
#[derive(clap::Args)]
pub struct Options {
    /// Only this kernel (5.10, 6.1, 6.12, 7.2, or "here": that of this machine); may be given several times
    #[arg(long, value_name = "VERSION")]
    kernel: Vec<String>,
    /// Boot them with lockdown=confidentiality, and test what is left then
    #[arg(long)]
    lockdown: bool,
    /// Only the tests that `cargo xtask test` runs on other kernels
    #[arg(long, conflicts_with_all = ["lockdown", "filters"])]
    few: bool,
    /// Minutes that one guest may take
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=60))]
    minutes: u64,
    /// Write what was tested into the table in docs/kernels.md
    #[arg(long)]
    write: bool,
    /// Only the tests whose names contain one of these
    filters: Vec<String>,
}

/// The kernels that a test is run on by `cargo xtask test`, which has minutes only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    All,
    /// The oldest and the newest.
    Ends,
    Oldest,
    Newest,
}

/// What `cargo xtask test` runs: one of each kind. What takes minutes is run once.
const FEW: [(&str, On); 17] = [
    ("a_thousand_leaks_in_a_churn", On::Oldest),
    ("accept_queue::of_a_long_queue", On::All),
    ("findings::every_way_to_leak_is_found_in_optimised_c", On::All),
    ("findings::healthy_twins", On::Ends),
    ("lifecycle::sockets_closed_after_all", On::All),
    ("maps_take_their_memory", On::All),
    ("no_program_takes_a_verifier", On::All),
    ("python::a_python_server_is_named", On::Ends),
    ("read_hooks::without_their_tracepoints", On::Oldest),
    ("rights::a_running_agent", On::Ends),
    ("shared::a_socket_that_a_child_inherited", On::All),
    ("sigterm_ends_it", On::All),
    ("system_calls_are_watched", On::All),
    ("the_doctor_finds", On::All),
    ("tls::an_end_is_called_what_it_was", On::Newest),
    ("tls::kernel_tls", On::All),
    ("tls::who_hangs_up", On::All),
];

/// After so many connections counts have to be exact.
const CONNECTIONS: u32 = 10_000;
/// The same in `cargo xtask test`, where a minute of each guest is too much for that.
const FEW_CONNECTIONS: u32 = 2_000;

/// What a guest of `cargo xtask test` may take at most. What is stuck is noticed long before, by its silence.
const PATIENCE: Duration = Duration::from_secs(2700);

/// Tests for kernels that are locked down; no others are told to run them.
const LOCKED_DOWN: [&str; 2] = ["--ignored", "lockdown::"];

/// Those that `cargo xtask test` locks down when all else was tested, which nothing takes back: one that types too
/// little to go without, and one that does not.
const LOCKABLE: [&str; 2] = ["5.10", "6.12"];

pub fn run(options: &Options) -> Result<()> {
    let wanted = selected(&options.kernel)?;
    let is_here = options.kernel.iter().any(|name| name == HERE);
    if is_here && options.lockdown {
        bail!("--lockdown is for guests: this machine's kernel stays as it is");
    }
    setup::run(&setup::Options { tests: is_here, vm: !wanted.is_empty(), ..setup::Options::default() })?;
    let filters: Vec<&str> = match (options.filters.as_slice(), options.lockdown) {
        ([], false) if options.few => FEW.map(|(test, _)| test).to_vec(),
        ([], false) => TESTS.to_vec(),
        ([], true) => LOCKED_DOWN.to_vec(),
        (filters, _) => filters.iter().map(String::as_str).collect(),
    };
    let lockdown = if options.lockdown { Lockdown::FromStart } else { Lockdown::Never };
    let guest = |kernel| Plan { kernel, lockdown, filters: &filters, connections: CONNECTIONS };
    let plans: Vec<Plan> = wanted.into_iter().map(guest).collect();
    let mut outcomes = outcomes(&plans, Duration::from_secs(options.minutes * 60))?;
    if is_here {
        outcomes.push(here::run(&filters)?);
    }
    let table = Tested::of(&outcomes);
    println!("\n{}", table.text());
    if options.write {
        table::write(&workspace::root().join("docs/kernels.md"), table, options.filters.is_empty())?;
    }
    let bad: Vec<String> = outcomes.iter().filter(|outcome| !outcome.is_good()).map(Outcome::in_words).collect();
    if !bad.is_empty() {
        bail!("{}; the consoles are in {}", bad.join(", "), workspace::target("vm").display());
    }
    Ok(())
}

/// Runs a few tests on all kernels, and locks some of them down in the end. Prints the table.
pub fn on_all() -> Result<Vec<Outcome>> {
    let runs = |number: usize, on: On| match (number == 0, number == KERNELS.len() - 1) {
        (true, _) => on != On::Newest,
        (_, true) => on != On::Oldest,
        _ => on == On::All,
    };
    let few: Vec<Vec<&str>> = (0..KERNELS.len())
        .map(|number| FEW.iter().filter(|(_, on)| runs(number, *on)).map(|(test, _)| *test).collect())
        .collect();
    let plan = |kernel: &'static Kernel, filters| {
        let lockdown = if LOCKABLE.contains(&kernel.name) { Lockdown::InTheEnd } else { Lockdown::Never };
        Plan { kernel, lockdown, filters, connections: FEW_CONNECTIONS }
    };
    let plans: Vec<Plan> = KERNELS.iter().zip(&few).map(|(kernel, filters)| plan(kernel, filters.as_slice())).collect();
    let outcomes = outcomes(&plans, PATIENCE)?;
    println!("\n{}", Tested::of(&outcomes).text());
    Ok(outcomes)
}

/// Fetches all kernels that are not there.
pub fn fetch() -> Result<()> {
    let directory = workspace::target("vm");
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let mut log = Log::create(directory.join("fetch.log"))?;
    KERNELS.iter().try_for_each(|kernel| image(&mut log, &directory, kernel).map(drop))
}

/// When a guest's kernel stops telling what its memory holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lockdown {
    Never,
    FromStart,
    /// After all other tests; then follow those for kernels that are locked down.
    InTheEnd,
}

/// What one guest is for.
struct Plan<'a> {
    kernel: &'static Kernel,
    lockdown: Lockdown,
    filters: &'a [&'a str],
    connections: u32,
}

impl Plan<'_> {
    fn guest(&self, image: &Path) -> Guest<'_> {
        let name = self.kernel.name;
        let (name, arguments) = match self.lockdown {
            Lockdown::Never | Lockdown::InTheEnd => (name.to_owned(), ""),
            Lockdown::FromStart => (format!("{name} locked down"), "lockdown=confidentiality"),
        };
        let locked_filters = if self.lockdown == Lockdown::InTheEnd { &LOCKED_DOWN[..] } else { &[] };
        let (filters, connections) = (self.filters, self.connections);
        Guest { name, image: image.to_owned(), arguments, filters, locked_filters, connections }
    }
}

fn outcomes(plans: &[Plan], limit: Duration) -> Result<Vec<Outcome>> {
    let directory = workspace::target("vm");
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let mut log = Log::create(directory.join("build.log"))?;
    for build in [compile::release, leaky::c, leaky::c_variants, leaky::rust, leaky::tls] {
        build(&mut log)?;
    }
    if plans.is_empty() {
        return Ok(Vec::new());
    }
    let tests = compile::on_kernel_tests()?;
    let mut guests = Vec::new();
    for plan in plans {
        guests.push(plan.guest(&image(&mut log, &directory, plan.kernel)?));
    }
    let kernels: Vec<&Kernel> = plans.iter().map(|plan| plan.kernel).collect();
    let modules = kernels::modules(&directory, &kernels);
    let initramfs = initramfs::make(&mut log, &directory, &tests, &modules)?;
    // Each guest takes one processor. Those with most to do begin.
    guests.sort_by_key(|guest| Reverse(guest.filters.len()));
    let at_once = thread::available_parallelism().map_or(1, NonZero::get).min(guests.len());
    let waiting = Mutex::new(guests.into_iter());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        let in_turn = || -> Result<Vec<Outcome>> {
            let mut outcomes = Vec::new();
            while let Some(guest) = next() {
                let outcome = guest.run(&directory, &initramfs, &tests, at_once == 1, limit)?;
                say(&outcome.in_words());
                if !outcome.is_good() {
                    guest.show_console(&directory)?;
                }
                outcomes.push(outcome);
            }
            Ok(outcomes)
        };
        let runners: Vec<_> = (0..at_once).map(|_| scope.spawn(in_turn)).collect();
        let mut outcomes = Vec::new();
        for runner in runners {
            outcomes.extend(runner.join().map_err(|_| anyhow!("a guest's runner panicked"))??);
        }
        outcomes.sort_by_key(|outcome| table::name(&outcome.kernel));
        Ok(outcomes)
    })
}

/// The kernels with these names that are not this machine's own; all, if there are no names.
fn selected(names: &[String]) -> Result<Vec<&'static Kernel>> {
    if names.is_empty() {
        return Ok(KERNELS.iter().collect());
    }
    let find = |name: &String| {
        let known = KERNELS.map(|kernel| kernel.name).join(", ");
        KERNELS
            .iter()
            .find(|kernel| kernel.name == name)
            .with_context(|| format!("no kernel {name}: there are {known}, and {HERE}"))
    };
    names.iter().filter(|name| *name != HERE).map(find).collect()
}
