//! The emulator: the host's own, or else Debian's, installed or unpacked into `target/tools`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::debian;
use crate::progress;
use crate::run::{self, Log};
use crate::workspace;

const PACKAGE: &str = "qemu-system-x86";
const PROGRAM: &str = "qemu-system-x86_64";

fn unpacked() -> PathBuf {
    workspace::target("tools").join(PACKAGE)
}

fn is_installed() -> bool {
    run::output(Command::new(PROGRAM).arg("--version")).is_ok()
}

pub fn is_there() -> bool {
    is_installed() || unpacked().is_dir()
}

/// Debian's does not stand beside tools of a later QEMU: those stay, and it is unpacked apart from them.
pub fn install(log: &mut Log) -> Result<()> {
    let Err(refused) = debian::install(log, &[PACKAGE.to_owned()]) else { return Ok(()) };
    progress::say(&format!("{refused:#}: {PACKAGE} is unpacked into target/tools instead"));
    debian::unpack(log, PACKAGE, &unpacked())?;
    run::output(command().arg("--version")).map(drop)
}

pub fn command() -> Command {
    if is_installed() || !unpacked().is_dir() {
        return Command::new(PROGRAM);
    }
    let usr = unpacked().join("usr");
    let libraries = ["usr/lib", "lib"].map(|at| unpacked().join(at).join("x86_64-linux-gnu").display().to_string());
    let mut qemu = Command::new(usr.join("bin").join(PROGRAM));
    qemu.env("LD_LIBRARY_PATH", libraries.join(":")).env("QEMU_MODULE_DIR", format!("{}/qemu", libraries[0]));
    for data in ["share/qemu", "share/seabios", "lib/ipxe/qemu"] {
        qemu.arg("-L").arg(usr.join(data));
    }
    qemu
}
