//! Threads that keep a socket open by a call that they are inside of, though its descriptor is
//! closed: the call holds a reference to the file until it returns.

use std::fs;

use super::process::{ProcessId, Procfs};
use crate::finding::BlockedThread;

/// Threads looked at; a process may have tens of thousands.
const THREADS: usize = 4096;

/// System calls that wait on a socket, by number: arch/x86/entry/syscalls/syscall_64.tbl.
#[cfg(target_arch = "x86_64")]
const CALLS: [(u32, &str); 8] = [
    (0, "read"),
    (1, "write"),
    (19, "readv"),
    (20, "writev"),
    (44, "sendto"),
    (45, "recvfrom"),
    (46, "sendmsg"),
    (47, "recvmsg"),
];

/// System calls that wait on a socket, by number: include/uapi/asm-generic/unistd.h.
#[cfg(target_arch = "aarch64")]
const CALLS: [(u32, &str); 8] = [
    (63, "read"),
    (64, "write"),
    (65, "readv"),
    (66, "writev"),
    (206, "sendto"),
    (207, "recvfrom"),
    (211, "sendmsg"),
    (212, "recvmsg"),
];

/// Threads of the process inside a call on this descriptor, which is closed. None if the number has
/// been given to another file: then nobody can tell whose call it is.
pub fn threads(procfs: &Procfs, process: ProcessId, fd: u32) -> Vec<BlockedThread> {
    let Some(root) = procfs.path_of(process) else { return Vec::new() };
    if fs::symlink_metadata(root.join(format!("fd/{fd}"))).is_ok() {
        return Vec::new();
    }
    let tasks = fs::read_dir(root.join("task")).into_iter().flatten().flatten().take(THREADS);
    tasks
        .filter_map(|task| {
            let tid = task.file_name().to_str()?.parse().ok()?;
            let call = call_on(&fs::read_to_string(task.path().join("syscall")).ok()?, fd)?;
            Some(BlockedThread { pid: process.tgid, tid, call: call.to_owned() })
        })
        .collect()
}

/// `/proc/PID/task/TID/syscall`: number and arguments, or `running`.
fn call_on(line: &str, fd: u32) -> Option<&'static str> {
    let mut words = line.split_ascii_whitespace();
    let number: u32 = words.next()?.parse().ok()?;
    let first = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    let (_, name) = CALLS.iter().find(|(call, _)| *call == number)?;
    (first as u32 == fd).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_call_on_this_descriptor_counts() {
        let recvfrom = CALLS.iter().find(|(_, name)| *name == "recvfrom").unwrap().0;
        let line = format!("{recvfrom} 0x5 0x7ffd 0x10 0x0 0x0 0x0 0x7ffd 0x7f00\n");
        assert_eq!(call_on(&line, 5), Some("recvfrom"));
        assert_eq!(call_on(&line, 6), None);
        assert_eq!(call_on("running\n", 5), None);
        assert_eq!(call_on("-1 0x7ffd 0x7f00\n", 5), None);
        assert_eq!(call_on("999999 0x5 0x7ffd\n", 5), None);
    }
}
