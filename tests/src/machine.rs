//! A Debian with systemd as its first process, in namespaces of its own.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::child::{Child, run};
use crate::containerd::remove_when_left;
use crate::host::{root, tool, unique_comm};
use crate::netns::Netns;
use crate::{seconds, wait_for};

/// What `cargo xtask setup` has made.
const DEBIAN: &str = "target/tools/debian-bookworm";

/// The files of a Debian, not to be changed.
///
/// # Panics
/// When there is none.
pub fn debian() -> PathBuf {
    let debian = root().join(DEBIAN);
    assert!(debian.is_dir(), "{} is not there: `cargo xtask setup --tests` makes it", debian.display());
    debian
}

/// Dropping it ends all that runs in it, and takes its cgroup away.
pub struct Machine {
    child: Option<Child>,
    /// Of its first process, for others.
    init: u32,
    cgroup: PathBuf,
    _layer: TempDir,
}

impl Machine {
    /// Its network is the namespace; its files are as new each time.
    ///
    /// # Panics
    /// When it does not boot.
    pub fn start(namespace: &Netns) -> Machine {
        let layer = TempDir::new().expect("a directory");
        let cgroup = hierarchy().join(format!("tlsclose-{}", unique_comm()));
        let mut boot = namespace.command(tool("sh"));
        boot.arg(root().join("tests/src/machine.sh")).arg(debian()).arg(layer.path()).arg(&cgroup);
        let child = Child::spawn(&mut boot);
        let mut machine = Machine { child: Some(child), init: 0, cgroup, _layer: layer };
        machine.init = wait_for("its first process", seconds(10), || {
            let child = machine.child.as_ref()?;
            let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            child.tree().into_iter().find(|pid| name(pid).trim() == "systemd")
        });
        wait_for("systemd", seconds(30), || {
            let state = machine.run("systemctl", &["is-system-running"]).0;
            matches!(state.trim(), "running" | "degraded").then_some(())
        });
        machine
    }

    /// A command that runs in it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(tool("nsenter"));
        command.arg(format!("--target={}", self.init)).args(["--all", "--root", "--wd", "--"]).arg(program);
        command
    }

    /// Runs a command to its end; what it said on standard output, and elsewhere.
    pub fn run(&self, program: &str, arguments: &[&str]) -> (String, String) {
        let output = run(self.command(program).args(arguments), seconds(60));
        (output.stdout, output.stderr)
    }

    /// One of its files, as others see it.
    pub fn path(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{file}", self.init))
    }
}

/// Where version 2 of cgroups is mounted.
fn hierarchy() -> PathBuf {
    let places = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
    let found = places.into_iter().find(|place| place.join("cgroup.controllers").is_file());
    found.expect("version 2 of cgroups").to_owned()
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.child.take());
        remove_when_left(&self.cgroup);
    }
}
