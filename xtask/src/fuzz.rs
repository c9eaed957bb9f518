//! `cargo xtask fuzz`: what others can write, made up by the million, for everything that reads it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::debian;
use crate::run::{self, Log, Output};
use crate::workspace;

const HOST: &str = "x86_64-unknown-linux-gnu";

/// What cargo-fuzz tells the compiler, without a sanitizer: the parsers have no unsafe code.
const COVERAGE: [&str; 7] = [
    "--cfg",
    "fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Fuzz the parsers of what others write: ELF files, stacks, TLS records, maps, answers.
///
/// Each target begins with the inputs in fuzz/corpus/TARGET and goes on for a while; overflow and
/// assertions are checked. What it finds is kept in target/fuzz/corpus, so that the next run begins
/// there. An input that crashes a target lies in target/fuzz/artifacts: mend the cause, then add
/// the input to fuzz/corpus/TARGET.
#[derive(clap::Args)]
pub struct Options {
    /// For how long each target is fed
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Only this target, by the name of its file in fuzz/fuzz_targets
    target: Option<String>,
}

/// Feeds every target for some seconds.
pub fn all(seconds: u64) -> Result<()> {
    run(&Options { seconds, target: None })
}

pub fn run(options: &Options) -> Result<()> {
    let wanted = selected(&targets()?, options.target.as_deref())?;
    let mut log = Log::create(workspace::target("fuzz.log"))?;
    if debian::is_debian() && run::output(Command::new("c++").arg("--version")).is_err() {
        debian::install(&mut log, &["g++".to_owned()])?;
    }
    log.step("building the fuzz targets", build(&wanted))?;
    let mut crashed = Vec::new();
    for target in wanted {
        let finished = log.run(&format!("fuzzing {target}"), feed(&target, options.seconds)?, Output::Log)?;
        if !finished.status.success() {
            crashed.push(target);
        }
    }
    if !crashed.is_empty() {
        let inputs = workspace::target("fuzz/artifacts");
        bail!("{} crashed; the inputs are in {}", crashed.join(", "), inputs.display());
    }
    Ok(())
}

/// All that there are, by the names of their files.
fn targets() -> Result<Vec<String>> {
    let directory = workspace::root().join("fuzz/fuzz_targets");
    let files = fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let names = files.flatten().filter_map(|file| Some(file.path().file_stem()?.to_str()?.to_owned()));
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

fn selected(targets: &[String], wanted: Option<&str>) -> Result<Vec<String>> {
    let Some(wanted) = wanted else { return Ok(targets.to_vec()) };
    if !targets.iter().any(|target| target == wanted) {
        bail!("no fuzz target {wanted}: there are {}", targets.join(", "));
    }
    Ok(vec![wanted.to_owned()])
}

/// For a target of its own, so that what runs while it is built is not slowed by its counters.
fn build(targets: &[String]) -> Command {
    let mut build = workspace::cargo("build");
    build.args(["--locked", "--release", "--target", HOST, "--manifest-path"]);
    build.arg(workspace::root().join("fuzz/Cargo.toml"));
    for target in targets {
        build.args(["--bin", target]);
    }
    build.env("CARGO_TARGET_DIR", workspace::target("fuzz"));
    build.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\x1f"));
    build
}

fn feed(target: &str, seconds: u64) -> Result<Command> {
    let own = directory("fuzz/corpus", target)?;
    let crashes = directory("fuzz/artifacts", target)?;
    let mut feed = Command::new(workspace::target("fuzz").join(HOST).join("release").join(target));
    feed.arg(format!("-max_total_time={seconds}")).arg(format!("-artifact_prefix={}/", crashes.display()));
    // The first directory gets what is new; the others are only read.
    feed.args(["-timeout=10", "-rss_limit_mb=1024"]).arg(own).arg(corpus(target)?);
    feed.current_dir(workspace::root());
    Ok(feed)
}

/// The inputs that a target begins with. None would mean that it begins with nothing, and finds nothing in seconds.
fn corpus(target: &str) -> Result<PathBuf> {
    let inputs = workspace::root().join("fuzz/corpus").join(target);
    if !fs::read_dir(&inputs).is_ok_and(|mut inputs| inputs.next().is_some()) {
        bail!("no input to begin with in {}: add some that the target accepts", inputs.display());
    }
    Ok(inputs)
}

fn directory(kind: &str, target: &str) -> Result<PathBuf> {
    let path = workspace::target(kind).join(target);
    fs::create_dir_all(&path).with_context(|| format!("cannot create {}", Path::display(&path)))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_inputs_to_begin_with() {
        let targets = targets().expect("targets");
        assert!(targets.len() >= 8, "{targets:?}");
        for target in targets {
            corpus(&target).expect("inputs");
        }
    }

    #[test]
    fn a_target_that_is_not_there_is_named() {
        let targets = ["elf", "maps"].map(str::to_owned);
        assert_eq!(selected(&targets, None).expect("all"), targets);
        assert_eq!(selected(&targets, Some("maps")).expect("one"), ["maps"]);
        assert_eq!(
            selected(&targets, Some("mops")).unwrap_err().to_string(),
            "no fuzz target mops: there are elf, maps"
        );
    }
}
