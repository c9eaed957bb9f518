//! What is being done, and for how long: a line that moves on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

static START: OnceLock<Instant> = OnceLock::new();

/// Says one thing, with the time since the start.
pub fn say(text: &str) {
    let elapsed = START.get_or_init(Instant::now).elapsed();
    println!("[{:6.1}s] {text}", elapsed.as_secs_f64());
}

/// A long step, from its announcement to its end.
pub struct Progress {
    what: String,
    start: Instant,
    terminal: bool,
}

impl Progress {
    /// `alone` says that nothing else is printed meanwhile, so that a line may move.
    pub fn start(what: &str, alone: bool) -> Progress {
        let terminal = alone && io::stdout().is_terminal();
        if !terminal {
            say(&format!("{what} ..."));
        }
        let progress = Progress { what: what.to_owned(), start: Instant::now(), terminal };
        progress.show("");
        progress
    }

    /// Shows the newest line of output beside the time, where there is a terminal to show it on.
    pub fn show(&self, detail: &str) {
        if !self.terminal {
            return;
        }
        let line = format!("         {} {:.0}s  {}", self.what, self.elapsed().as_secs_f64(), detail.trim());
        let line: String = line.chars().filter(|c| !c.is_control()).take(100).collect();
        print!("\r\x1b[2K{line}");
        let _ = io::stdout().flush();
    }

    pub fn done(self) -> Duration {
        self.end("done")
    }

    pub fn failed(self) -> Duration {
        self.end("FAILED")
    }

    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn end(self, how: &str) -> Duration {
        if self.terminal {
            print!("\r\x1b[2K");
        }
        let elapsed = self.elapsed();
        say(&format!("{}: {how} in {:.1} s", self.what, elapsed.as_secs_f64()));
        elapsed
    }
}
