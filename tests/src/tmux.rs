//! A terminal for the programs that need one.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::child::run;
use crate::host::tool;
use crate::{patient, seconds};

/// A tmux server of its own, with one window. Dropping it ends what runs in it.
pub struct Tmux {
    directory: TempDir,
}

impl Tmux {
    /// Runs a line of shell in a window of this size.
    pub fn start(columns: u32, lines: u32, shell: &str) -> Tmux {
        let tmux = Tmux { directory: TempDir::new().expect("a temporary directory") };
        let (columns, lines) = (columns.to_string(), lines.to_string());
        tmux.command(&["new-session", "-d", "-x", &columns, "-y", &lines, shell]);
        tmux
    }

    /// What is on the screen.
    pub fn screen(&self) -> String {
        self.command(&["capture-pane", "-p"])
    }

    /// The screen, once it contains all of these.
    ///
    /// # Panics
    /// When it does not in time; it prints the screen.
    pub fn shows(&self, parts: &[&str]) -> String {
        let end = Instant::now() + patient(seconds(15));
        loop {
            let screen = self.screen();
            let missing: Vec<_> = parts.iter().filter(|part| !screen.contains(**part)).collect();
            if missing.is_empty() {
                return screen;
            }
            assert!(Instant::now() < end, "waited in vain for {missing:?} on the screen:\n{screen}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Keys by tmux's names (`Enter`, `Escape`, `C-c`), or text.
    pub fn press(&self, key: &str) {
        self.command(&["send-keys", key]);
    }

    pub fn resize(&self, columns: u32, lines: u32) {
        self.command(&["resize-window", "-x", &columns.to_string(), "-y", &lines.to_string()]);
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("tmux")
    }

    fn command(&self, arguments: &[&str]) -> String {
        let mut tmux = Command::new(tool("tmux"));
        // Without the user's configuration, and with a terminal that every host knows.
        tmux.args(["-f", "/dev/null", "-u", "-S"]).arg(self.socket()).args(arguments);
        tmux.env_remove("TMUX").env("LC_ALL", "C.UTF-8").env("TERM", "screen");
        let output = run(&mut tmux, seconds(10));
        assert_eq!(output.code, Some(0), "tmux {arguments:?}: {}", output.stderr);
        output.stdout
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let mut tmux = Command::new(tool("tmux"));
        tmux.arg("-S").arg(self.socket()).arg("kill-server");
        run(&mut tmux, seconds(10));
    }
}
