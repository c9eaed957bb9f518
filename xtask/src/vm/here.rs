//! The same tests on the kernel of this machine, without another one around them.

use std::fs;

use anyhow::{Context, Result};

use super::guest::{self, Outcome};
use crate::compile;
use crate::leaky;
use crate::run::{Log, Output};
use crate::setup;
use crate::workspace;

pub fn run(filters: &[&str]) -> Result<Outcome> {
    setup::mount_tracefs()?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("no release of this kernel")?;
    let release = release.trim();
    let name = release.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
    let mut log = Log::create(workspace::target("vm").join(format!("{name}.log")))?;
    let mut test = std::process::Command::new(compile::on_kernel_tests()?);
    test.args(["--test-threads", "2"]).args(filters).current_dir(workspace::root());
    test.env("TLSCLOSE_BIN", workspace::program());
    test.env("TLSCLOSE_LEAKY_C", leaky::c_program());
    test.env("TLSCLOSE_LEAKY_RUST", leaky::rust_program());
    let finished = log.run(&format!("tests on {name}"), test, Output::Shown)?;
    let outcome = guest::read(&name, &finished.lines.join("\n"), finished.elapsed);
    Ok(Outcome { release: release.to_owned(), ended: true, ..outcome })
}
