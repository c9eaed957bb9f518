//! A run of checks and tests: its log, and what it came to.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::leaky;
use crate::run::{Finished, Log, Output};
use crate::setup;
use crate::summary::{self, Summary};
use crate::workspace;

/// Tests on this kernel that run at once. They wait most of their time: three keep two processors half busy.
const AT_ONCE: &str = "3";

/// More than so many failures are no accident of a busy machine.
const FEW_FAILURES: usize = 4;

pub struct Tests {
    pub log: Log,
    pub summary: Summary,
    /// Part of the names of the tests that are wanted.
    filter: Option<String>,
}

impl Tests {
    pub fn begin(filter: Option<&str>) -> Result<Tests> {
        let log = Log::create(workspace::target("test.log"))?;
        Ok(Tests { log, summary: Summary::default(), filter: filter.map(str::to_owned) })
    }

    pub fn check(&mut self, what: &str, command: Command) -> Result<()> {
        let finished = self.log.run(what, command, Output::Log)?;
        self.summary.checked(what, finished.status.success(), finished.elapsed);
        Ok(())
    }

    pub fn units(&mut self) -> Result<()> {
        self.test_units(&["--workspace", "--exclude", "tlsclose-ebpf", "--exclude", "tlsclose-tests"])
    }

    /// Those of one package.
    pub fn units_of(&mut self, package: &str) -> Result<()> {
        self.test_units(&["--package", package])
    }

    fn test_units(&mut self, packages: &[&str]) -> Result<()> {
        let mut test = workspace::cargo("test");
        test.args(packages).args(["--no-fail-fast", "--"]).args(&self.filter);
        let finished = self.log.run("unit tests", test, Output::Shown)?;
        self.summary.tested("unit tests", &finished.lines, finished.status.success(), finished.elapsed);
        Ok(())
    }

    /// Of the released program, on this kernel. All that they need is built.
    pub fn on_kernel(&mut self) -> Result<()> {
        const WHAT: &str = "tests on this kernel";
        if let Some(reason) = why_not_on_kernel() {
            self.summary.skipped(WHAT, &reason, in_ci());
            return Ok(());
        }
        setup::mount_tracefs()?;
        let finished = self.run_on_kernel(WHAT, &["--test-threads", AT_ONCE], self.filter.clone().as_slice())?;
        let failed: Vec<String> = summary::failed_tests(&finished.lines).into_iter().map(str::to_owned).collect();
        if finished.status.success() || failed.is_empty() || failed.len() > FEW_FAILURES {
            self.summary.tested(WHAT, &finished.lines, finished.status.success(), finished.elapsed);
            return Ok(());
        }
        // As in the guests: what fails beside others is tried once more, alone. What then passes is flaky, and is told.
        const ALONE: &str = "those that failed, alone";
        let again = self.run_on_kernel(ALONE, &["--test-threads", "1", "--exact"], &failed)?;
        let still_failing = summary::failed_tests(&again.lines);
        let passed_again = failed.iter().filter(|test| !still_failing.contains(&test.as_str()));
        let died = still_failing.is_empty() && !again.status.success();
        passed_again.filter(|_| !died).for_each(|test| self.summary.flaky(test));
        self.summary.tested_without(WHAT, &finished.lines, failed.len() as u64, finished.elapsed);
        self.summary.tested(ALONE, &again.lines, again.status.success(), again.elapsed);
        Ok(())
    }

    fn run_on_kernel(&mut self, what: &str, arguments: &[&str], names: &[String]) -> Result<Finished> {
        let mut test = workspace::cargo("test");
        test.args(["--package", "tlsclose-tests", "--tests", "--no-fail-fast", "--"]).args(arguments).args(names);
        test.env("TLSCLOSE_BIN", workspace::program());
        test.env("TLSCLOSE_LEAKY_C", leaky::c_program());
        test.env("TLSCLOSE_LEAKY_RUST", leaky::rust_program());
        self.log.run(what, test, Output::Shown)
    }

    /// Keeps the names of flaky tests beyond this run, the newest last.
    pub fn keep_flaky(&self) -> Result<()> {
        if self.summary.flaky_tests().is_empty() {
            return Ok(());
        }
        let path = workspace::target("flaky.log");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO).as_secs();
        for test in self.summary.flaky_tests() {
            writeln!(file, "{now} {test}").with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

/// Why this host's kernel is not tested: its user may say so, and only root may load programs.
pub fn why_not_on_kernel() -> Option<String> {
    let unwanted = env::var("TLSCLOSE_SKIP_KERNEL").ok().filter(|reason| !reason.is_empty());
    let not_root = || {
        let root = rustix::process::geteuid().is_root();
        (!root).then(|| "only root may load programs into the kernel".to_owned())
    };
    unwanted.or_else(not_root)
}

/// Whether somebody else's machine runs this, where a test that cannot run is a failure.
pub fn in_ci() -> bool {
    env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false")
}
