//! A network namespace of the test's own, so that its ports and TIME_WAITs bother nobody.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::child::run;
use crate::host::{needs, tool};
use crate::{seconds, wait_for};

/// Gone when dropped. Declare it before the processes that run in it.
pub struct Netns {
    name: String,
}

impl Netns {
    /// With the loopback up.
    ///
    /// # Panics
    /// When the namespace cannot be made.
    #[allow(clippy::new_without_default, reason = "it changes the host")]
    pub fn new() -> Netns {
        needs(&[]);
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let namespace = Netns { name: format!("tlsclose-{}-{number}", std::process::id()) };
        ip(&["netns", "add", &namespace.name]);
        ip(&["-n", &namespace.name, "link", "set", "lo", "up"]);
        namespace
    }

    /// As `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number, as `netns` in a report.
    ///
    /// # Panics
    /// When it is gone.
    pub fn inode(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(self.file()).expect("the namespace").ino()
    }

    /// Until somebody listens on a port.
    ///
    /// # Panics
    /// When nobody does within 20 s.
    pub fn wait_for_listener(&self, port: u16) {
        wait_for(&format!("a listener on port {port}"), seconds(20), || {
            let sockets = run(self.command("ss").args(["-Htln"]), seconds(10)).stdout;
            let has_port = |word: &str| word.ends_with(&format!(":{port}"));
            sockets.split_whitespace().any(has_port).then_some(())
        });
    }

    /// Runs `ip` in it.
    ///
    /// # Panics
    /// When that fails.
    pub fn ip(&self, words: &str) {
        let output = run(self.command(tool("ip")).args(words.split_whitespace()), seconds(5));
        assert_eq!(output.code, Some(0), "{words}: {output:?}");
    }

    fn file(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// A command that runs in the namespace, with the PID that spawning it gives.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(tool("nsenter"));
        let file = PathBuf::from("/run/netns").join(&self.name);
        command.arg(format!("--net={}", file.display())).arg("--").arg(program);
        command
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new(tool("ip")).args(["netns", "delete", &self.name]).status();
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new(tool("ip")).args(arguments).status().expect("ip");
    assert!(status.success(), "ip {} failed", arguments.join(" "));
}
