//! Threads that keep a socket open by a call that they are inside of, though its descriptor is
//! closed: the call holds a reference to the file until it returns.

use std::fs;

use super::procfs::Procfs;
use crate::api::BlockedThread;
use tlsclose_core::model::ProcessId;

/// Threads looked at; a process may have tens of thousands.
const THREADS: usize = 4096;

/// System calls that wait on a socket: number, name, and which arguments are descriptors;
/// arch/x86/entry/syscalls/syscall_64.tbl.
#[cfg(target_arch = "x86_64")]
const CALLS: [(u32, &str, Taken); 12] = [
    (0, "read", FIRST),
    (1, "write", FIRST),
    (19, "readv", FIRST),
    (20, "writev", FIRST),
    (40, "sendfile", &[0, 1]),
    (44, "sendto", FIRST),
    (45, "recvfrom", FIRST),
    (46, "sendmsg", FIRST),
    (47, "recvmsg", FIRST),
    (275, "splice", &[0, 2]),
    (299, "recvmmsg", FIRST),
    (307, "sendmmsg", FIRST),
];

/// System calls that wait on a socket, see above: include/uapi/asm-generic/unistd.h.
#[cfg(target_arch = "aarch64")]
const CALLS: [(u32, &str, Taken); 12] = [
    (63, "read", FIRST),
    (64, "write", FIRST),
    (65, "readv", FIRST),
    (66, "writev", FIRST),
    (71, "sendfile", &[0, 1]),
    (76, "splice", &[0, 2]),
    (206, "sendto", FIRST),
    (207, "recvfrom", FIRST),
    (211, "sendmsg", FIRST),
    (212, "recvmsg", FIRST),
    (243, "recvmmsg", FIRST),
    (269, "sendmmsg", FIRST),
];

/// Which of a call's arguments are descriptors.
type Taken = &'static [usize];
const FIRST: Taken = &[0];

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
    let arguments: Vec<u64> = words.map_while(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()).collect();
    let (_, name, taken) = CALLS.iter().find(|(call, ..)| *call == number)?;
    taken.iter().any(|at| arguments.get(*at).is_some_and(|argument| *argument as u32 == fd)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_call_on_this_descriptor_counts() {
        let number = |wanted| CALLS.iter().find(|(_, name, _)| *name == wanted).unwrap().0;
        let line = format!("{} 0x5 0x7ffd 0x10 0x0 0x0 0x0 0x7ffd 0x7f00\n", number("recvfrom"));
        assert_eq!(call_on(&line, 5), Some("recvfrom"));
        assert_eq!(call_on(&line, 6), None);
        let spliced = format!("{} 0x5 0x0 0x6 0x0 0x100 0x0 0x7ffd 0x7f00\n", number("splice"));
        assert_eq!([5, 6, 0].map(|fd| call_on(&spliced, fd)), [Some("splice"), Some("splice"), None]);
        assert_eq!(call_on("running\n", 5), None);
        assert_eq!(call_on("-1 0x7ffd 0x7f00\n", 5), None);
        assert_eq!(call_on("999999 0x5 0x7ffd\n", 5), None);
    }
}
