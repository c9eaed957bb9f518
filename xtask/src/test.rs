//! `cargo xtask test`: every check there is, and the tests on the kernel that runs here.

mod checks;
mod matching;
mod steps;

use std::time::Duration;

use anyhow::{Result, bail};

use self::matching::Matching;
use self::steps::{Tests, in_ci, why_not_on_kernel};
use crate::aarch64;
use crate::background::Background;
use crate::beside::{Beside, Work};
use crate::compile;
use crate::leaky;
use crate::progress::{self, say};
use crate::run;
use crate::setup::{self, BPF_TARGET};
use crate::toolchain::Toolchain;
use crate::vm;
use crate::workspace;

const FOR_AARCH64: &str = "the agent for aarch64";

/// Run all checks and tests, or those with a name; on the kernel they need root.
///
/// Without a name: installs what the tests need, checks format, order, lints and licences, and runs
/// the unit tests; then builds the released program and tests it on this kernel against programs
/// that leak, and in short on other kernels in QEMU; fuzz targets are fed meanwhile. Then follow
/// what passed and failed, what was flaky (passed only when it was tried again; kept in
/// target/flaky.log), and where the time went. TLSCLOSE_SKIP_KERNEL=reason leaves the tests on
/// kernels out; with CI=true, tests that were left out are failures.
///
/// With a name: runs at once the tests whose names contain it, on the kernel or units, wherever they
/// are. Nothing is installed, and only what is stale is built. 'cargo xtask setup --tests' installs
/// what such tests need.
///
/// Examples:
///   cargo xtask test --quick                    what a change should pass before anything else
///   cargo xtask test sigterm_ends_it            one test on this kernel
///   cargo xtask test findings::                 all of one file
///   cargo xtask test                            everything, as CI does
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// Only what needs neither root nor a released program: format, order, lints, fuzz targets and unit tests
    #[arg(long)]
    quick: bool,
    /// Only the tests whose names contain this, without the other checks
    #[arg(value_name = "NAME")]
    filter: Option<String>,
}

pub fn run(options: &Options) -> Result<()> {
    let mut tests = Tests::begin(options.filter.as_deref())?;
    match (&options.filter, options.quick) {
        (Some(filter), quick) => matching(&mut tests, filter, quick)?,
        (None, true) => quick(&mut tests)?,
        (None, false) => all(&mut tests)?,
    }
    tests.summary.show();
    tests.keep_flaky()?;
    if options.filter.is_none() {
        progress::show_times();
    }
    if tests.summary.failed() {
        bail!("not everything passed; all output is in target/test.log");
    }
    Ok(())
}

/// Tests with a name, at once.
fn matching(tests: &mut Tests, filter: &str, quick: bool) -> Result<()> {
    let matching = Matching::of(filter)?;
    if matching.is_empty() {
        bail!("no test has '{filter}' in its name");
    }
    for package in &matching.units {
        tests.units_of(package)?;
    }
    if matching.on_kernel && !quick {
        if why_not_on_kernel().is_none() {
            if let Err(missing) = Toolchain::find(workspace::root(), BPF_TARGET) {
                bail!("{missing}: run 'cargo xtask setup --tests' first");
            }
            compile::release(&mut tests.log)?;
            leaky::all(&mut tests.log)?;
        }
        tests.on_kernel()?;
    }
    Ok(())
}

fn quick(tests: &mut Tests) -> Result<()> {
    checks::at_once(tests)?;
    setup::run(&setup::Options::default())?;
    checks::lints(tests)?;
    checks::fuzz_targets(tests)?;
    tests.units()
}

/// What fails fast comes first; what waits for others, or for the net, goes on beside what computes.
fn all(tests: &mut Tests) -> Result<()> {
    checks::at_once(tests)?;
    let on_kernel = why_not_on_kernel().is_none();
    let kernels = on_kernel.then(|| Work::Kernels.begin()).transpose()?;
    setup::run(&setup::Options { tests: true, vm: true, ..setup::Options::default() })?;
    checks::dependencies(tests)?;
    let leaky = on_kernel.then(|| Work::Leaky.begin()).transpose()?;
    checks::lints(tests)?;
    tests.units()?;
    let is_built = build(tests, leaky)?;
    let fuzz = Work::Fuzz.begin()?;
    let for_aarch64 = begin_check_for_aarch64(tests)?;
    if is_built || !on_kernel {
        tests.on_kernel()?;
    }
    if is_built {
        on_other_kernels(tests, kernels)?;
    }
    let beside = [("fuzz targets", Some(fuzz)), (FOR_AARCH64, for_aarch64)];
    for (what, work) in beside {
        if let Some((success, elapsed)) = work.map(Beside::wait).transpose()? {
            tests.summary.checked(what, success, elapsed);
        }
    }
    Ok(())
}

/// Whether all was built that tests on kernels need.
fn build(tests: &mut Tests, leaky: Option<Beside>) -> Result<bool> {
    const WHAT: &str = "tests on kernels";
    let Some(leaky) = leaky else { return Ok(false) };
    let released = compile::release(&mut tests.log).and_then(|()| compile::on_kernel_tests().map(drop));
    let (leaks, _) = leaky.wait()?;
    if let Err(error) = &released {
        crate::interrupt::check()?;
        say(&format!("{error:#}"));
    }
    if released.is_err() || !leaks {
        tests.summary.skipped(WHAT, "what they test does not build", true);
        return Ok(false);
    }
    // What the builds have written would else be written while the first agents read their files.
    rustix::fs::sync();
    Ok(true)
}

/// The programs are built for it, too, with its registers: while the tests on this kernel wait.
fn begin_check_for_aarch64(tests: &mut Tests) -> Result<Option<Beside>> {
    match aarch64::check(&mut tests.log)? {
        Ok(check) => {
            say(&format!("{FOR_AARCH64} is checked beside the tests ..."));
            let log = workspace::target("aarch64.log");
            let check = Background::start_unread(FOR_AARCH64, run::when_idle(&check), &log)?;
            Ok(Some(Beside::of(FOR_AARCH64, check)))
        }
        Err(reason) => {
            tests.summary.skipped(FOR_AARCH64, &reason, in_ci());
            Ok(None)
        }
    }
}

/// Guests come after the tests on this kernel: an emulated processor that gets half of a real one waits in vain for what
/// comes too late, and tests that fail by that are run twice.
fn on_other_kernels(tests: &mut Tests, kernels: Option<Beside>) -> Result<()> {
    const WHAT: &str = "tests on other kernels";
    if let Some(kernels) = kernels {
        kernels.wait()?; // if it failed, the guests' own look for kernels tells why
    }
    let outcomes = match vm::on_all() {
        Ok(outcomes) => outcomes,
        Err(error) => {
            crate::interrupt::check()?;
            tests.summary.skipped(WHAT, &format!("{error:#}"), true);
            return Ok(());
        }
    };
    for outcome in outcomes {
        let passed = outcome.passed();
        let failed = outcome.tests.len() - passed;
        let what = format!("tests on {}", outcome.kernel);
        let elapsed = Duration::from_secs_f64(outcome.seconds);
        tests.summary.tested_elsewhere(&what, passed as u64, failed as u64, outcome.is_good(), elapsed);
        outcome.flaky.iter().for_each(|test| tests.summary.flaky(&format!("{test} on {}", outcome.kernel)));
    }
    Ok(())
}
