//! `cargo xtask test`: every check there is, and the tests on the kernel that runs here.

use std::env;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::aarch64;
use crate::background::Background;
use crate::compile;
use crate::progress::{Progress, say};
use crate::run::{self, Log, Output};
use crate::setup::{self, BPF_TARGET};
use crate::summary::{self, Summary};
use crate::tidy;
use crate::toolchain::Toolchain;
use crate::tools;
use crate::vm;
use crate::workspace;

/// Tests on this kernel that run at once. They wait most of their time: three keep two processors half busy.
const AT_ONCE: &str = "3";

const ORDER: &str = "order of the house";
const FOR_AARCH64: &str = "the agent for aarch64";

/// More than so many failures are no accident of a busy machine.
const FEW_FAILURES: usize = 4;

/// What the tests on one other kernel may take, and those on all of them.
const KERNEL_LIMIT: Duration = Duration::from_secs(900);
const KERNELS_LIMIT: Duration = Duration::from_secs(1500);

/// Run all checks and tests; those on the kernel need root.
///
/// Installs what the tests need, checks format, lints, licences, and runs the unit tests; then
/// builds the released program and tests it on this kernel against programs that leak, and in short
/// on other kernels in QEMU. The last line counts what passed and what failed.
/// TLSCLOSE_SKIP_KERNEL=reason leaves the tests on kernels out; with CI=true, tests that were left
/// out are failures.
#[derive(clap::Args)]
pub struct Options {
    /// Only what needs neither root nor a released program: format, lints, fuzz targets and unit tests
    #[arg(long)]
    quick: bool,
    /// Only the tests whose names contain this, without the other checks
    filter: Option<String>,
}

pub fn run(options: &Options) -> Result<()> {
    let with_vm = !options.quick && options.filter.is_none();
    setup::run(&setup::Options { tests: !options.quick, vm: with_vm, ..setup::Options::default() })?;
    let mut tests = Tests {
        log: Log::create(workspace::target("test.log"))?,
        summary: Summary::default(),
        filter: options.filter.clone(),
    };
    if options.filter.is_none() {
        tests.check_order()?;
        tests.check_source()?;
        tests.check_fuzz_targets()?;
        if !options.quick {
            tests.check_dependencies()?;
        }
    }
    tests.test_units()?;
    if !options.quick {
        let for_aarch64 = if options.filter.is_none() { tests.begin_check_for_aarch64()? } else { None };
        tests.test_on_kernel()?;
        if let Some(check) = for_aarch64 {
            tests.end_check_for_aarch64(check)?;
        }
        if options.filter.is_none() {
            tests.test_on_other_kernels()?;
        }
    }
    tests.summary.show();
    if tests.summary.failed() {
        bail!("not everything passed; all output is in target/test.log");
    }
    Ok(())
}

struct Tests {
    log: Log,
    summary: Summary,
    filter: Option<String>,
}

impl Tests {
    /// The rules of the house, in a second.
    fn check_order(&mut self) -> Result<()> {
        let checking = Progress::start(ORDER, true);
        let findings = tidy::check(workspace::root())?;
        findings.iter().for_each(|finding| eprintln!("    {finding}"));
        let elapsed = if findings.is_empty() { checking.done() } else { checking.failed() };
        self.summary.checked(ORDER, findings.is_empty(), elapsed);
        Ok(())
    }

    fn check_source(&mut self) -> Result<()> {
        let mut format = workspace::cargo("fmt");
        format.args(["--all", "--check"]);
        self.check("format", format)?;

        let mut lint = workspace::cargo("clippy");
        lint.args(["--workspace", "--exclude", "tlsclose-ebpf", "--all-targets"]);
        lint.args(["--", "-D", "warnings"]);
        self.check("lints", lint)?;

        // Clippy belongs to another compiler than the one that knows the BPF target.
        let Ok(toolchain) = Toolchain::find(workspace::root(), BPF_TARGET) else {
            bail!("the BPF toolchain went missing during the tests: run 'cargo xtask setup'");
        };
        for (features, object) in [("", "typed"), ("probed", "probed")] {
            let mut warnings = toolchain.cargo("check", BPF_TARGET, &["-Dwarnings"]);
            warnings.args(["--features", features, "--target-dir"]).arg(workspace::target("bpf"));
            warnings.current_dir(workspace::root());
            self.check(&format!("warnings of the kernel side ({object})"), warnings)?;
        }
        Ok(())
    }

    fn check_dependencies(&mut self) -> Result<()> {
        // A build fetches what this host needs; the check reads what other systems would need, too.
        let mut fetch = workspace::cargo("fetch");
        fetch.arg("--locked");
        self.log.step("fetching the dependencies of all systems", fetch)?;
        let mut deny = Command::new(tools::program("cargo-deny"));
        // The advisories need a database that is fetched with git; this part does not need the net.
        deny.args(["--offline", "check", "licenses", "bans", "sources"]);
        deny.current_dir(workspace::root());
        self.check("dependencies", deny)
    }

    /// They compile the parsers once more, by their paths.
    ///
    /// Nothing is linked: the fuzzer itself, in C++, is named and not built.
    fn check_fuzz_targets(&mut self) -> Result<()> {
        let mut check = workspace::cargo("check");
        check.args(["--locked", "--bins", "--manifest-path"]).arg(workspace::root().join("fuzz/Cargo.toml"));
        check.env("CARGO_TARGET_DIR", workspace::target("fuzz"));
        check.env("CUSTOM_LIBFUZZER_PATH", workspace::target("fuzz/libFuzzer.a"));
        self.check("fuzz targets", check)
    }

    /// The programs are built for it, too, with its registers: while the tests on this kernel wait.
    fn begin_check_for_aarch64(&mut self) -> Result<Option<Background>> {
        match aarch64::check(&mut self.log)? {
            Ok(check) => {
                say(&format!("{FOR_AARCH64} is checked beside the tests ..."));
                let log = workspace::target("aarch64.log");
                Background::start_unread(FOR_AARCH64, run::when_idle(&check), &log).map(Some)
            }
            Err(reason) => {
                self.summary.skipped(FOR_AARCH64, &reason, in_ci());
                Ok(None)
            }
        }
    }

    fn end_check_for_aarch64(&mut self, check: Background) -> Result<()> {
        let waiting = Progress::start(FOR_AARCH64, true);
        let (success, last_words) = check.wait()?;
        if !success {
            last_words.iter().for_each(|line| eprintln!("    {line}"));
        }
        let elapsed = if success { waiting.done() } else { waiting.failed() };
        self.summary.checked(FOR_AARCH64, success, elapsed);
        Ok(())
    }

    fn test_units(&mut self) -> Result<()> {
        let mut test = workspace::cargo("test");
        test.args(["--workspace", "--exclude", "tlsclose-ebpf", "--exclude", "tlsclose-tests"]);
        test.args(["--no-fail-fast", "--"]).args(&self.filter);
        self.test("unit tests", test)
    }

    fn test_on_kernel(&mut self) -> Result<()> {
        const WHAT: &str = "tests on this kernel";
        if let Some(reason) = why_not_on_kernel() {
            self.summary.skipped(WHAT, &reason, in_ci());
            return Ok(());
        }
        setup::mount_tracefs()?;
        for build in [
            compile::release,
            compile::leaky_c,
            compile::leaky_c_variants,
            compile::leaky_others,
            compile::leaky_rust,
            compile::leaky_tls,
        ] {
            if let Err(error) = build(&mut self.log) {
                crate::interrupt::check()?;
                say(&format!("{error:#}"));
                self.summary.skipped(WHAT, "what they test does not build", true);
                return Ok(());
            }
        }
        // What the builds have written would else be written while the first agents read their files.
        rustix::fs::sync();
        let mut all = self.on_kernel(&["--test-threads", AT_ONCE]);
        all.args(&self.filter);
        let finished = self.log.run(WHAT, all, Output::Shown)?;
        let failed = summary::failed_tests(&finished.lines);
        if finished.status.success() || failed.is_empty() || failed.len() > FEW_FAILURES {
            self.summary.tested(WHAT, &finished.lines, finished.status.success(), finished.elapsed);
            return Ok(());
        }
        // As in the guests: what fails beside others, on a machine that others may load too, is tried once more, alone.
        const ALONE: &str = "those that failed, alone";
        let mut alone = self.on_kernel(&["--test-threads", "1", "--exact"]);
        alone.args(&failed);
        let again = self.log.run(ALONE, alone, Output::Shown)?;
        self.summary.tested_without(WHAT, &finished.lines, failed.len() as u64, finished.elapsed);
        self.summary.tested(ALONE, &again.lines, again.status.success(), again.elapsed);
        Ok(())
    }

    /// The tests on this kernel, with arguments for libtest.
    fn on_kernel(&self, arguments: &[&str]) -> Command {
        let mut test = workspace::cargo("test");
        test.args(["--package", "tlsclose-tests", "--tests", "--no-fail-fast", "--"]).args(arguments);
        test.env("TLSCLOSE_BIN", workspace::program());
        test.env("TLSCLOSE_LEAKY_C", compile::leaky_c_program());
        test.env("TLSCLOSE_LEAKY_RUST", compile::leaky_rust_program());
        test
    }

    fn test_on_other_kernels(&mut self) -> Result<()> {
        const WHAT: &str = "tests on other kernels";
        if let Some(reason) = why_not_on_kernel() {
            self.summary.skipped(WHAT, &reason, in_ci());
            return Ok(());
        }
        match vm::on_all(KERNEL_LIMIT, KERNELS_LIMIT) {
            Ok(outcomes) => {
                for outcome in outcomes {
                    let passed = outcome.passed();
                    let failed = outcome.tests.len() - passed;
                    let what = format!("tests on {}", outcome.kernel);
                    let elapsed = Duration::from_secs_f64(outcome.seconds);
                    self.summary.tested_elsewhere(&what, passed as u64, failed as u64, outcome.is_good(), elapsed);
                }
            }
            Err(error) => {
                crate::interrupt::check()?;
                self.summary.skipped(WHAT, &format!("{error:#}"), true);
            }
        }
        Ok(())
    }

    fn check(&mut self, what: &str, command: Command) -> Result<()> {
        let finished = self.log.run(what, command, Output::Log)?;
        self.summary.checked(what, finished.status.success(), finished.elapsed);
        Ok(())
    }

    fn test(&mut self, what: &str, command: Command) -> Result<()> {
        let finished = self.log.run(what, command, Output::Shown)?;
        self.summary.tested(what, &finished.lines, finished.status.success(), finished.elapsed);
        Ok(())
    }
}

/// Why this host's kernel is not tested: its user may say so, and only root may load programs.
fn why_not_on_kernel() -> Option<String> {
    let unwanted = env::var("TLSCLOSE_SKIP_KERNEL").ok().filter(|reason| !reason.is_empty());
    let not_root = || {
        let root = rustix::process::geteuid().is_root();
        (!root).then(|| "only root may load programs into the kernel".to_owned())
    };
    unwanted.or_else(not_root)
}

/// Whether somebody else's machine runs this, where a test that cannot run is a failure.
fn in_ci() -> bool {
    env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false")
}
