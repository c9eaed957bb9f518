//! Building the product, and the tests on the kernel.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::run::{self, Log};
use crate::workspace;

/// Both sides of tlsclose, released.
pub fn release(log: &mut Log) -> Result<()> {
    let mut build = workspace::cargo("build");
    build.args(["--release", "--package", "tlsclose-agent"]);
    log.step("building tlsclose", build)
}

/// Builds the tests on the kernel, and gives the program that they are.
pub fn on_kernel_tests() -> Result<PathBuf> {
    let mut build = workspace::cargo("test");
    build.args(["--package", "tlsclose-tests", "--test", "on_kernel", "--no-run", "--message-format", "json"]);
    let messages = run::output(&mut build)?;
    let values = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut tests = values.filter(|message| message["target"]["name"] == "on_kernel");
    let executable = tests.find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    executable.context("cargo built no test program")
}
