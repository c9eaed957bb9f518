//! What threads want of the processors: from procfs.

use std::{fs, time::Duration};

use super::procfs::Procfs;
use tlsclose_core::model::ProcessId;

/// Threads of one process that are looked at.
const THREADS: usize = 4096;

/// The process's threads, with how long each has run, or waited for a core, since it began. None are
/// known where the kernel does not say (CONFIG_SCHED_INFO).
pub fn of_threads(procfs: &Procfs, process: ProcessId) -> Vec<(u32, Duration)> {
    let Some(root) = procfs.path_of(process) else { return Vec::new() };
    let tasks = fs::read_dir(root.join("task")).into_iter().flatten().flatten().take(THREADS);
    tasks
        .filter_map(|task| {
            let tid = task.file_name().to_str()?.parse().ok()?;
            Some((tid, wanted(&fs::read_to_string(task.path().join("schedstat")).ok()?)?))
        })
        .collect()
}

/// `/proc/PID/task/TID/schedstat`: ns on a core, ns in a run queue, and how often
/// (Documentation/scheduler/sched-stats.rst).
fn wanted(schedstat: &str) -> Option<Duration> {
    let mut words = schedstat.split_ascii_whitespace().map_while(|word| word.parse::<u64>().ok());
    let (ran, waited) = (words.next()?, words.next()?);
    let wanted = ran.checked_add(waited)?;
    (wanted > 0).then_some(Duration::from_nanos(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_wants_what_it_got_and_what_it_waited_for() {
        assert_eq!(wanted("1000 500 3\n"), Some(Duration::from_nanos(1500)));
        for nothing in ["0 0 0\n", "1000\n", "", "x 1 2", "18446744073709551615 1 1"] {
            assert_eq!(wanted(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn this_thread_has_run() {
        let me = std::process::id();
        let procfs = Procfs::new("/proc");
        let started_at = procfs.started_at(me).expect("this process");
        let threads = of_threads(&procfs, ProcessId { tgid: me, started_at });
        assert!(threads.iter().any(|(tid, wanted)| *tid == me && *wanted > Duration::ZERO), "{threads:?}");
    }
}
