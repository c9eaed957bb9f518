//! The agent for aarch64, which is compiled here and not run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::debian;
use crate::run::{self, Log};
use crate::toolchain::DEBIAN_RUSTC;
use crate::vm::Apt;
use crate::workspace;

const TARGET: &str = "aarch64-unknown-linux-gnu";
const VARIABLES: &str = "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU";
const C_COMPILER: &str = "aarch64-linux-gnu-gcc";

/// What checks the agent and both BPF objects, with warnings as errors; or why that is not possible here.
pub fn check(log: &mut Log) -> Result<Result<Command, String>> {
    if run::output(Command::new(C_COMPILER).arg("--version")).is_err() {
        return Ok(Err(format!("no {C_COMPILER}")));
    }
    let mut check = workspace::cargo("check");
    check.args(["--locked", "--target", TARGET, "--package", "tlsclose-agent"]);
    let mut flags = "-Dwarnings".to_owned();
    if !has_standard_library("rustc") {
        if !debian::is_debian() || debian::version("rustc-web").is_none() {
            return Ok(Err(format!("no standard library for it: run 'rustup target add {TARGET}'")));
        }
        let sysroot = match debians_standard_library(log) {
            Ok(sysroot) => sysroot,
            Err(error) => {
                crate::interrupt::check()?;
                return Ok(Err(format!("{error:#}")));
            }
        };
        flags = format!("{flags} --sysroot={}", sysroot.display());
        check.env("RUSTC", DEBIAN_RUSTC);
    }
    check.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    check.env(format!("{VARIABLES}_RUSTFLAGS"), flags).env(format!("{VARIABLES}_LINKER"), C_COMPILER);
    check.env(format!("CC_{}", TARGET.replace('-', "_")), C_COMPILER);
    check.env("CARGO_TARGET_DIR", workspace::target("aarch64"));
    Ok(Ok(check))
}

fn has_standard_library(rustc: &str) -> bool {
    let sysroot = run::output(Command::new(rustc).args(["--print", "sysroot"]));
    sysroot.is_ok_and(|sysroot| Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).join("lib").is_dir())
}

/// That of Debian's compiler: the package of the other architecture, unpacked and not installed.
fn debians_standard_library(log: &mut Log) -> Result<PathBuf> {
    const PACKAGE: &str = "libstd-rust-web-dev";
    let version = debian::version("rustc-web").context("rustc-web is not installed")?;
    let place = workspace::target("tools").join(format!("arm64-std-{version}"));
    if !place.is_dir() {
        let staging = place.with_extension("part");
        let _ = fs::remove_dir_all(&staging);
        fs::create_dir_all(&staging).with_context(|| format!("cannot create {}", staging.display()))?;
        let apt = Apt::new(&workspace::target("vm"), "arm64")?;
        log.step("reading Debian's package lists for arm64", apt.command("apt-get", &["--quiet", "update"]))?;
        // Of this very version: other compilers refuse it.
        let mut fetch = apt.command("apt-get", &["--quiet", "download", &format!("{PACKAGE}={version}")]);
        fetch.current_dir(&staging);
        log.step(&format!("fetching Debian's {PACKAGE} for arm64"), fetch)?;
        debian::unpack_all(&staging)?;
        fs::rename(&staging, &place).with_context(|| format!("cannot keep {}", place.display()))?;
    }
    Ok(place.join("usr"))
}
