//! Work that `cargo xtask test` has done beside its other work, each in a process of its own.

use std::env;
use std::process::Command;

use anyhow::{Context, Result};

use crate::background::Background;
use crate::fuzz;
use crate::leaky;
use crate::progress::{Progress, say};
use crate::run::{self, Log};
use crate::vm;
use crate::workspace;

/// How long each fuzz target is fed by the tests.
const FUZZ_SECONDS: u64 = 5;

/// Do work that is part of another command.
#[derive(clap::Args)]
pub struct Options {
    work: Work,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Work {
    /// Fetch the kernels that guests boot
    Kernels,
    /// Build the programs that leak
    Leaky,
    /// Feed every fuzz target for some seconds
    Fuzz,
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Work::Kernels => "fetching other kernels",
            Work::Leaky => "building the leaking programs",
            Work::Fuzz => "fuzz targets",
        }
    }

    fn argument(self) -> &'static str {
        match self {
            Work::Kernels => "kernels",
            Work::Leaky => "leaky",
            Work::Fuzz => "fuzz",
        }
    }

    /// Starts it. What nothing waits for before the end is done while others leave a processor free.
    pub fn begin(self) -> Result<Beside> {
        let mut command = Command::new(env::current_exe().context("this program has no path")?);
        command.args(["beside", self.argument()]).current_dir(workspace::root());
        say(&format!("{} goes on beside what follows ...", self.name()));
        let errors = workspace::target("").join(format!("beside-{}.log", self.argument()));
        let command = if self == Work::Fuzz { run::when_idle(&command) } else { command };
        let process = Background::start_unread(self.name(), command, &errors)?;
        Ok(Beside { name: self.name(), process })
    }
}

pub fn run(options: &Options) -> Result<()> {
    match options.work {
        Work::Kernels => vm::fetch(),
        Work::Leaky => leaky::all(&mut Log::create(workspace::target("leaky.log"))?),
        Work::Fuzz => fuzz::all(FUZZ_SECONDS),
    }
}

/// Work that was begun; it ends with this.
pub struct Beside {
    name: &'static str,
    process: Background,
}

impl Beside {
    pub fn of(name: &'static str, process: Background) -> Beside {
        Beside { name, process }
    }

    /// Waits for its end. Whether it succeeded, and for how long it was waited for; its last words are shown if it failed.
    pub fn wait(self) -> Result<(bool, std::time::Duration)> {
        let waiting = Progress::start(&format!("waiting for {}", self.name), true);
        let (success, last_words) = self.process.wait()?;
        if !success {
            last_words.iter().for_each(|line| eprintln!("    {line}"));
        }
        let elapsed = if success { waiting.done() } else { waiting.failed() };
        Ok((success, elapsed))
    }
}
