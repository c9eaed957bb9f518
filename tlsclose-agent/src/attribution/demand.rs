//! What threads want of the processors, and what an epoll watches: from procfs.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Read,
    time::Duration,
};

use super::process::Procfs;
use tlsclose_core::model::ProcessId;

/// Threads of one process that are looked at.
const THREADS: usize = 4096;
/// More of what an epoll watches is not read, in bytes: some 30,000 descriptors.
const EPOLL_MAX: u64 = 4 << 20;

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

/// The descriptors that an epoll of the process watches, as the process numbered them when it asked.
pub fn watched(procfs: &Procfs, process: ProcessId, epoll: u32) -> BTreeSet<u32> {
    let read = || {
        let path = procfs.path_of(process)?.join(format!("fdinfo/{epoll}"));
        let mut text = String::new();
        File::open(path).ok()?.take(EPOLL_MAX).read_to_string(&mut text).ok()?;
        Some(targets(&text).collect())
    };
    read().unwrap_or_default()
}

/// Lines `tfd: 8 events: 8000201d data: …` (Documentation/filesystems/proc.rst, 3.8).
fn targets(fdinfo: &str) -> impl Iterator<Item = u32> + '_ {
    fdinfo.lines().filter_map(|line| line.strip_prefix("tfd:")?.split_ascii_whitespace().next()?.parse().ok())
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
    fn an_epolls_targets_are_its_lines_that_say_so() {
        let fdinfo = "pos:\t0\nflags:\t02000002\ntfd:        5 events: 80002019 data: 0  pos:0 ino:c sdev:10\n\
                      tfd:       18 events: 8000201d data: 7f3a  pos:0 ino:7674c7f sdev:9\ntfd: x\n";
        assert_eq!(targets(fdinfo).collect::<Vec<_>>(), [5, 18]);
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
