//! What an epoll watches: from procfs.

use std::{collections::BTreeSet, fs::File, io::Read};

use super::procfs::Procfs;
use tlsclose_core::model::ProcessId;

/// More of what an epoll watches is not read, in bytes: some 30,000 descriptors.
const EPOLL_MAX: u64 = 4 << 20;

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
    fn an_epolls_targets_are_its_lines_that_say_so() {
        let fdinfo = "pos:\t0\nflags:\t02000002\ntfd:        5 events: 80002019 data: 0  pos:0 ino:c sdev:10\n\
                      tfd:       18 events: 8000201d data: 7f3a  pos:0 ino:7674c7f sdev:9\ntfd: x\n";
        assert_eq!(targets(fdinfo).collect::<Vec<_>>(), [5, 18]);
    }
}
