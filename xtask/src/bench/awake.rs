//! Keeps the processors from going to sleep while something is measured.
//!
//! A hypervisor takes a processor that sleeps away from its virtual machine, and gives it back with cold caches, tens of
//! microseconds after it was wanted: then it is the hypervisor that is measured.

use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::Result;

use crate::background::Background;

/// Runs on each processor when nothing else wants to, until it is dropped, but not for hours.
const LOOP: &str = "ulimit -t 7200; while :; do :; done";

/// A loop for each processor that every other thread displaces at once (SCHED_IDLE).
pub struct Awake(#[allow(dead_code, reason = "kept to end them")] Vec<Background>);

impl Awake {
    pub fn all(directory: &Path) -> Result<Awake> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let loops = (0..processors).map(|processor| {
            let mut command = Command::new("taskset");
            command.args(["--cpu-list", &processor.to_string(), "chrt", "--idle", "0", "sh", "-c", LOOP]);
            Background::start_unread("a loop", command, &directory.join("loop.log"))
        });
        Ok(Awake(loops.collect::<Result<_>>()?))
    }
}
