//! `cargo xtask vm`: the tests on other kernels, each in a virtual machine of its own.

mod guest;
mod initramfs;
mod kernels;
mod table;

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use self::guest::Outcome;
use self::kernels::Kernel;
pub use self::kernels::{KERNELS, image};
use crate::compile;
use crate::progress::say;
use crate::run::Log;
use crate::setup;
use crate::workspace;

/// What is tested on every kernel unless a filter says otherwise.
const TESTS: [&str; 18] = [
    "a_thousand_leaks_in_a_churn",
    "aborts::",
    "accept_queue::",
    "descriptors::",
    "findings::",
    "ledger::",
    "lifecycle::",
    "no_program_takes_a_verifier",
    "python::",
    "rights::",
    "shared::",
    "sigterm_ends_it",
    "spins::",
    "system_calls_are_watched",
    "the_capabilities_of_the_unit",
    "the_doctor_finds",
    "tls::",
    "types::",
];

/// Run the tests on other kernels, in QEMU without hardware support.
///
/// Fetches each kernel as a Debian package into target/vm, boots it with an initramfs that holds
/// the released program and its tests, and prints a table of tests and kernels. A guest that
/// panics, stalls or overruns is ended; its console is kept in target/vm.
#[derive(clap::Args)]
pub struct Options {
    /// Only this kernel (5.10, 6.1, 6.12 or 7.2); may be given several times
    #[arg(long, value_name = "VERSION")]
    kernel: Vec<String>,
    /// Minutes that one guest may take
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=60))]
    minutes: u64,
    /// Write the table into docs/kernels.md
    #[arg(long)]
    write: bool,
    /// Only the tests whose names contain one of these
    filters: Vec<String>,
}

/// What `cargo xtask test` runs on every kernel: one of each kind, in a minute or so.
pub const FEW: [&str; 13] = [
    "accept_queue::of_a_long_queue",
    "findings::every_way_to_leak_is_found_in_optimised_c",
    "findings::healthy_twins",
    "lifecycle::sockets_closed_after_all",
    "no_program_takes_a_verifier",
    "python::a_python_server_is_named",
    "rights::a_running_agent",
    "shared::a_socket_that_a_child_inherited",
    "sigterm_ends_it",
    "system_calls_are_watched",
    "the_doctor_finds",
    "tls::kernel_tls",
    "tls::who_hangs_up",
];

pub fn run(options: &Options) -> Result<()> {
    let wanted = selected(&options.kernel)?;
    setup::run(&setup::Options { vm: true, ..setup::Options::default() })?;
    let filters: Vec<&str> = match options.filters.as_slice() {
        [] => TESTS.to_vec(),
        filters => filters.iter().map(String::as_str).collect(),
    };
    let outcomes = outcomes(&wanted, &filters, Duration::from_secs(options.minutes * 60))?;
    let text = table::text(&outcomes);
    println!("\n{text}");
    if options.write {
        table::write(&workspace::root().join("docs/kernels.md"), &text)?;
    }
    let bad: Vec<String> = outcomes.iter().filter(|outcome| !outcome.is_good()).map(Outcome::in_words).collect();
    if !bad.is_empty() {
        bail!("{}; the consoles are in {}", bad.join(", "), workspace::target("vm").display());
    }
    Ok(())
}

/// Runs the tests that match on all kernels, one after the other.
pub fn on_all(filters: &[&str], limit: Duration) -> Result<Vec<Outcome>> {
    outcomes(&KERNELS.iter().collect::<Vec<_>>(), filters, limit)
}

fn outcomes(wanted: &[&Kernel], filters: &[&str], limit: Duration) -> Result<Vec<Outcome>> {
    let directory = workspace::target("vm");
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let mut log = Log::create(directory.join("build.log"))?;
    for build in
        [compile::release, compile::leaky_c, compile::leaky_c_variants, compile::leaky_rust, compile::leaky_tls]
    {
        build(&mut log)?;
    }
    let tests = compile::on_kernel_tests()?;
    let mut images = Vec::new();
    for kernel in wanted {
        images.push(image(&mut log, &directory, kernel)?);
    }
    let modules = kernels::modules(&directory, wanted);
    let initramfs = initramfs::make(&mut log, &directory, &tests, &modules)?;
    let mut outcomes = Vec::new();
    for (kernel, image) in wanted.iter().zip(images) {
        let outcome = guest::run(&directory, kernel.name, &image, &initramfs, &tests, filters, limit)?;
        say(&outcome.in_words());
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

fn selected(names: &[String]) -> Result<Vec<&'static Kernel>> {
    if names.is_empty() {
        return Ok(KERNELS.iter().collect());
    }
    let find = |name: &String| {
        let known = KERNELS.map(|kernel| kernel.name).join(", ");
        KERNELS
            .iter()
            .find(|kernel| kernel.name == name)
            .with_context(|| format!("no kernel {name}: there are {known}"))
    };
    names.iter().map(find).collect()
}
