//! The guests of `cargo xtask test`, which run while other tests wait.

use std::thread::{self, JoinHandle};

use anyhow::{Result, anyhow};

use super::guest::Outcome;
use crate::interrupt;
use crate::progress::{Progress, say};

/// Guests in a thread of their own; they end with this.
pub struct Guests(Option<JoinHandle<Result<Vec<Outcome>>>>);

impl Guests {
    pub fn begin(run: impl FnOnce() -> Result<Vec<Outcome>> + Send + 'static) -> Guests {
        say("tests on other kernels go on beside what follows ...");
        Guests(Some(thread::spawn(run)))
    }

    /// Waits until all guests have ended.
    pub fn wait(mut self) -> Result<Vec<Outcome>> {
        let Some(guests) = self.0.take() else { return Ok(Vec::new()) };
        let waiting = Progress::start("waiting for tests on other kernels", false);
        let outcomes = guests.join().map_err(|_| anyhow!("the guests' thread panicked"))?;
        waiting.done();
        outcomes
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        if let Some(guests) = self.0.take() {
            interrupt::ask_to_end();
            let _ = guests.join();
        }
    }
}
