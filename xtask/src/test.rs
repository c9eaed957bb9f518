//! `cargo xtask test`: every check there is, and the tests on the kernel that runs here.

use std::env;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::aarch64;
use crate::compile;
use crate::progress::say;
use crate::run::{Log, Output};
use crate::setup::{self, BPF_TARGET};
use crate::summary::Summary;
use crate::toolchain::Toolchain;
use crate::tools;
use crate::vm;
use crate::workspace;

/// Tests on this kernel that run at once. They wait most of their time: three keep two processors half busy.
const AT_ONCE: &str = "3";

/// What the tests on one other kernel may take, and those on all of them.
const KERNEL_LIMIT: Duration = Duration::from_secs(420);
const KERNELS_LIMIT: Duration = Duration::from_secs(1200);

/// Run all checks and tests; those on the kernel need root.
///
/// Installs what the tests need, checks format, lints, licences, and runs the unit tests; then
/// builds the released program and tests it on this kernel against programs that leak, and in short
/// on other kernels in QEMU. The last line counts what passed and what failed.
/// TLSCLOSE_SKIP_KERNEL=reason leaves the tests on kernels out; with CI=true, tests that were left
/// out are failures.
#[derive(clap::Args)]
pub struct Options {
    /// Only what needs neither root nor a released program: format, lints and unit tests
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
        tests.check_source()?;
        if !options.quick {
            tests.check_dependencies()?;
            tests.check_fuzz_targets()?;
            tests.check_for_aarch64()?;
        }
    }
    tests.test_units()?;
    if !options.quick {
        tests.test_on_kernel()?;
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
        for (features, directory) in [("", "typed"), ("probed", "probed")] {
            let mut warnings = toolchain.cargo("check", BPF_TARGET, &["-Dwarnings"]);
            warnings.args(["--features", features, "--target-dir"]).arg(workspace::target("bpf").join(directory));
            warnings.current_dir(workspace::root());
            self.check(&format!("warnings of the kernel side ({directory})"), warnings)?;
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
    fn check_fuzz_targets(&mut self) -> Result<()> {
        let mut check = workspace::cargo("check");
        check.args(["--locked", "--bins", "--manifest-path"]).arg(workspace::root().join("fuzz/Cargo.toml"));
        check.env("CARGO_TARGET_DIR", workspace::target("fuzz"));
        self.check("fuzz targets", check)
    }

    /// The programs are built for it, too, with its registers.
    fn check_for_aarch64(&mut self) -> Result<()> {
        const WHAT: &str = "the agent for aarch64";
        match aarch64::check(&mut self.log)? {
            Ok(check) => self.check(WHAT, check)?,
            Err(reason) => self.summary.skipped(WHAT, &reason, in_ci()),
        }
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
        let mut test = workspace::cargo("test");
        test.args(["--package", "tlsclose-tests", "--tests", "--no-fail-fast", "--"]);
        test.args(["--test-threads", AT_ONCE]).args(&self.filter);
        test.env("TLSCLOSE_BIN", workspace::program());
        test.env("TLSCLOSE_LEAKY_C", compile::leaky_c_program());
        test.env("TLSCLOSE_LEAKY_RUST", compile::leaky_rust_program());
        self.test(WHAT, test)
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
