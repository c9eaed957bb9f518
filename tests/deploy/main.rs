//! What operators install: the files in `deploy/`, checked by the tools that will read them.
#![forbid(unsafe_code)]

mod container;
mod debian;
mod helm;
mod kubernetes;
mod prometheus;
mod systemd;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tlsclose_tests::child::{Output, run};
use tlsclose_tests::host::root;
use tlsclose_tests::seconds;

/// A file of the repository.
fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// What `cargo xtask setup` has installed.
fn installed(tool: &str) -> PathBuf {
    let file = root().join("target/tools").join(tool);
    assert!(file.is_file(), "{} is not there: `cargo xtask setup --tests` installs it", file.display());
    file
}

/// Runs a command that must succeed.
fn done(command: &mut Command) -> Output {
    let output = run(command, seconds(120));
    assert_eq!(output.code, Some(0), "{command:?}: {}{}", output.stdout, output.stderr);
    output
}
