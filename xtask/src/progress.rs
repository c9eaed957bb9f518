//! What is being done, and for how long: a line that moves on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

static START: OnceLock<Instant> = OnceLock::new();

/// What took how long, in the order in which it ended.
static TAKEN: Mutex<Vec<(String, Duration)>> = Mutex::new(Vec::new());

/// Steps that are shown where the time went.
const SHOWN: usize = 20;

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
        TAKEN.lock().unwrap_or_else(PoisonError::into_inner).push((self.what, elapsed));
        elapsed
    }
}

/// Shows where the time went, longest first; steps that ran side by side are each shown whole.
pub fn show_times() {
    let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let whole = START.get().map_or(Duration::ZERO, Instant::elapsed);
    print!("{}", times(&taken, whole));
}

fn times(taken: &[(String, Duration)], whole: Duration) -> String {
    let mut taken: Vec<_> = taken.iter().filter(|(_, time)| time.as_secs() > 0).collect();
    taken.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    let mut text = format!("\nwhere the time went, of {:.0} s:\n", whole.as_secs_f64());
    for (what, time) in taken.into_iter().take(SHOWN) {
        text += &format!("{:>7.1} s  {what}\n", time.as_secs_f64());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_step_is_shown_first() {
        let taken =
            [("a", 1500), ("b", 2500), ("c", 10)].map(|(what, ms)| (what.to_owned(), Duration::from_millis(ms)));
        let text = times(&taken, Duration::from_secs(4));
        assert_eq!(text, "\nwhere the time went, of 4 s:\n    2.5 s  b\n    1.5 s  a\n");
    }
}
