//! The identity and the vital signs of a process, from procfs.
//!
//! A process may end at any read, and its PID may be given to another one: every question is
//! asked through one descriptor of `/proc/PID`, which stays with the process it was opened for,
//! after its start time was compared. No answer is better than another process's name.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Dir, Mode, OFlags, PROC_SUPER_MAGIC};
use rustix::time::{ClockId, clock_gettime};
use tlsclose_common::facts::Comm;
use tlsclose_core::model::{ProcessId, printable};

use crate::attribution::containers::cgroup::{self, NestedContainer};
use crate::attribution::detached_worker::Worker;

/// More of a procfs file than this is never read, in bytes.
const FILE_MAX: u64 = 64 * 1024;

/// How long a command line may take to read: it lies in memory of the process, which may be
/// backed by a file system that never answers.
const CMDLINE_DEADLINE: Duration = Duration::from_millis(200);

/// What a process is called, and by whom it is run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub pid: u32,
    /// PID inside the innermost PID namespace.
    pub ns_pid: u32,
    pub comm: String,
    /// As the process sees it, without ` (deleted)`; empty for a kernel thread.
    pub exe: String,
    /// Only when asked for: command lines hold secrets.
    pub cmdline: Option<Vec<String>>,
    /// Real user id.
    pub uid: u32,
    /// RFC 3339, UTC, whole seconds.
    pub started_at: String,
    /// Hexadecimal. Not in procfs: the caller fills it from the program's module.
    pub build_id: Option<String>,
    /// The containers it is in, the outermost first.
    pub containers: Vec<NestedContainer>,
}

/// How near a process is to its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    pub open_fds: Option<u64>,
    /// Soft limit of open files; none when there is none.
    pub max_fds: Option<u64>,
    pub rss_bytes: Option<u64>,
}

/// procfs, mounted anywhere.
#[derive(Clone, Debug)]
pub struct Procfs {
    root: PathBuf,
    /// USER_HZ: ticks per second of `starttime`.
    ticks: u64,
}

impl Procfs {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let ticks = rustix::param::clock_ticks_per_second().max(1);
        Self { root: root.into(), ticks }
    }

    /// None when the process ended, or another one has its PID.
    /// The command line is read by `cmdline`'s thread, and only if one is given.
    pub fn identity(&self, id: ProcessId, cmdline: Option<&mut Worker>) -> Option<Identity> {
        let dir = self.open(id)?;
        let status = read(&dir, "status")?;
        let comm = read(&dir, "comm")?;
        let cgroups = read(&dir, "cgroup").unwrap_or_default();
        let containers = cgroup::containers(&cgroups, |id| self.is_runc(id));
        let (_, living) = self.living(id)?;
        let exe = rustix::fs::readlinkat(&living, "exe", Vec::new()).unwrap_or_default();
        Some(Identity {
            pid: id.tgid,
            ns_pid: numbers(&status, b"NSpid:").last().unwrap_or(id.tgid),
            comm: printable(comm.strip_suffix(b"\n").unwrap_or(&comm)),
            exe: printable(without_deleted(exe.to_bytes())),
            cmdline: cmdline.and_then(|worker| cmdline_in(dir, worker)),
            uid: numbers(&status, b"Uid:").next()?,
            started_at: rfc3339_of_boottime(id.started_at)?,
            build_id: None,
            containers,
        })
    }

    /// Plain runc keeps a directory for each of its containers (`--root`, which is this one for root).
    fn is_runc(&self, id: &str) -> bool {
        self.root.join("1/root/run/runc").join(id).join("state.json").exists()
    }

    /// None when the process ended, or another one has its PID.
    pub fn vitals(&self, id: ProcessId) -> Option<Vitals> {
        let (_, dir) = self.living(id)?;
        let rss_kib = read(&dir, "status").and_then(|s| numbers::<u64>(&s, b"VmRSS:").next());
        Some(Vitals {
            open_fds: count_fds(&dir),
            max_fds: read(&dir, "limits").and_then(|limits| numbers(&limits, b"Max open files").next()),
            rss_bytes: rss_kib.map(|kib| kib.saturating_mul(1024)),
        })
    }

    /// When the process that has this PID now was started: ns of CLOCK_BOOTTIME, rounded down to ticks.
    pub fn started_at(&self, tgid: u32) -> Option<u64> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(self.root.join(tgid.to_string()), flags, Mode::empty()).ok()?;
        let ticks = start_ticks(&read(&dir, "stat")?)?;
        u64::try_from(u128::from(ticks) * 1_000_000_000 / u128::from(self.ticks)).ok()
    }

    /// The process is neither dead nor dying: what it still closes it closes because it ends.
    pub fn is_alive(&self, id: ProcessId) -> bool {
        let Some(dir) = self.open(id) else { return false };
        read(&dir, "stat").is_some_and(|stat| is_running(&stat))
    }

    /// `/proc/PID`, if it is this process's now; see [`Procfs::living`].
    pub fn path_of(&self, id: ProcessId) -> Option<PathBuf> {
        self.living(id).map(|(path, _)| path)
    }

    /// `/proc/PID` of exactly this process; where its first thread has ended before the others, and has neither memory
    /// nor descriptors any more, that of another thread. Not for what is said of the process: its name and start.
    pub fn living(&self, id: ProcessId) -> Option<(PathBuf, OwnedFd)> {
        let path = self.root.join(id.tgid.to_string());
        let dir = self.open(id)?;
        if !read(&dir, "stat").is_some_and(|stat| has_ended_first(&stat)) {
            return Some((path, dir));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let tasks =
            rustix::fs::openat(&dir, "task", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let names = Dir::new(tasks.ok()?).ok()?.filter_map(Result::ok);
        let tids = names.filter_map(|entry| entry.file_name().to_str().ok()?.parse::<u32>().ok());
        tids.filter(|tid| *tid != id.tgid)
            .find_map(|tid| {
                let path = self.root.join(tid.to_string());
                let dir = rustix::fs::open(&path, flags, Mode::empty()).ok()?;
                let lives = !matches!(stat_fields(&read(&dir, "stat")?)?.next()?, "Z" | "X" | "x");
                let is_of = numbers::<u32>(&read(&dir, "status")?, b"Tgid:").next() == Some(id.tgid);
                (lives && is_of).then_some((path, dir))
            })
            // The process may have ended meanwhile, and its numbers have been given to others.
            .filter(|_| self.open(id).is_some())
    }

    /// A descriptor of `/proc/PID` of exactly this process.
    pub fn open(&self, id: ProcessId) -> Option<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = self.root.join(id.tgid.to_string());
        let dir = rustix::fs::open(path, flags, Mode::empty()).ok()?;
        let started = start_ticks(&read(&dir, "stat")?)?;
        let expected = u128::from(id.started_at) * u128::from(self.ticks) / 1_000_000_000;
        (expected.abs_diff(u128::from(started)) <= 1).then_some(dir)
    }

    /// PID inside the innermost PID namespace, and effective user.
    pub fn inner_pid_and_user(&self, id: ProcessId) -> Option<(u32, u32)> {
        let status = read(&self.open(id)?, "status")?;
        Some((numbers(&status, b"NSpid:").last().unwrap_or(id.tgid), numbers(&status, b"Uid:").nth(1)?))
    }

    /// The root directory of exactly this process.
    pub fn root_of(&self, id: ProcessId) -> Option<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(self.living(id)?.1, "root", flags, Mode::empty()).ok()
    }

    /// The root directory of the host: that of its first process, else our own.
    pub fn host_root(&self) -> Option<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let first = rustix::fs::open(self.root.join("1/root"), flags, Mode::empty());
        first.or_else(|_| rustix::fs::open("/", flags, Mode::empty())).ok()
    }

    /// Arguments and environment, each ended by a zero byte; they lie in memory of the process.
    /// None also where they are longer than what is read.
    pub fn started_with(&self, id: ProcessId, worker: &mut Worker) -> Option<(Vec<u8>, Vec<u8>)> {
        let dir = self.open(id)?;
        let both = worker.run(CMDLINE_DEADLINE, move || Some((read(&dir, "cmdline")?, read(&dir, "environ")?)))?;
        both.filter(|(arguments, variables)| arguments.len().max(variables.len()) < FILE_MAX as usize)
    }
}

fn cmdline_in(dir: OwnedFd, worker: &mut Worker) -> Option<Vec<String>> {
    let raw = worker.run(CMDLINE_DEADLINE, move || read(&dir, "cmdline"))??;
    let raw = raw.strip_suffix(b"\0").unwrap_or(&raw);
    Some(raw.split(|byte| *byte == 0).map(printable).collect())
}

/// The name of a process as the kernel side has it.
pub fn comm_text(comm: Comm) -> String {
    printable(comm.bytes().split(|byte| *byte == 0).next().unwrap_or_default())
}

/// The kernel marks the path of an unlinked file so.
pub fn without_deleted(path: &[u8]) -> &[u8] {
    path.strip_suffix(b" (deleted)").unwrap_or(path)
}

/// Field 22 of `/proc/PID/stat`. The name in field 2 may contain anything, also `)` and newlines,
/// but nothing after it contains a `)`.
fn start_ticks(stat: &[u8]) -> Option<u64> {
    stat_fields(stat)?.nth(19)?.parse().ok()
}

/// The fields of `/proc/PID/stat` behind the command name, which may hold anything.
fn stat_fields(stat: &[u8]) -> Option<std::str::SplitAsciiWhitespace<'_>> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    Some(std::str::from_utf8(stat.get(name_end + 1..)?).ok()?.split_ascii_whitespace())
}

/// `/proc/PID/stat` is of a process that goes on: not a zombie, and not inside `do_exit`. A leader
/// that ended before its threads says nothing about them.
fn is_running(stat: &[u8]) -> bool {
    const PF_EXITING: u32 = 4;
    let Some(fields) = stat_fields(stat) else { return false };
    let fields: Vec<&str> = fields.collect();
    let [state, _, _, _, _, _, flags, ..] = fields[..] else { return false };
    let threads = fields.get(17).and_then(|threads| threads.parse::<u32>().ok()).unwrap_or(1);
    let exiting = flags.parse::<u32>().is_ok_and(|flags| flags & PF_EXITING != 0);
    threads > 1 || !(exiting || matches!(state, "Z" | "X" | "x"))
}

/// `/proc/PID/stat` is of a process whose first thread has ended before others.
fn has_ended_first(stat: &[u8]) -> bool {
    let fields: Vec<&str> = stat_fields(stat).into_iter().flatten().collect();
    let threads = fields.get(17).and_then(|threads| threads.parse::<u32>().ok());
    matches!(fields.first(), Some(&"Z")) && threads > Some(1)
}

/// The numbers that follow `key` at the start of a line. The kernel escapes newlines in the one
/// line a process has a say in (`Name:`).
fn numbers<'a, N: std::str::FromStr + 'a>(file: &'a [u8], key: &'static [u8]) -> impl Iterator<Item = N> + 'a {
    file.split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(key))
        .unwrap_or_default()
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .map_while(|word| std::str::from_utf8(word).ok()?.parse().ok())
}

/// `st_size` of `/proc/PID/fd` is their number since Linux 6.2 (f1f1f2569901), and 0 before.
fn count_fds(dir: &OwnedFd) -> Option<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fds = rustix::fs::openat(dir, "fd", flags, Mode::empty()).ok()?;
    let size = rustix::fs::fstat(&fds).ok()?.st_size;
    match u64::try_from(size) {
        Ok(count) if count > 0 && is_procfs(&fds) => Some(count),
        _ => {
            let entries = Dir::read_from(&fds).ok()?.filter_map(Result::ok);
            let names = entries.filter(|e| !e.file_name().to_bytes().starts_with(b"."));
            Some(names.count() as u64)
        }
    }
}

/// A recorded procfs on a disk has directory sizes of its own.
fn is_procfs(fd: &OwnedFd) -> bool {
    rustix::fs::fstatfs(fd).is_ok_and(|fs| fs.f_type == PROC_SUPER_MAGIC)
}

fn read(dir: impl AsFd, name: &str) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::openat(dir, name, flags, Mode::empty()).ok()?;
    let mut bytes = Vec::new();
    File::from(file).take(FILE_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// RFC 3339 of a time on CLOCK_BOOTTIME (ns), by today's difference between the clocks.
fn rfc3339_of_boottime(at: u64) -> Option<String> {
    let nanos = |clock| {
        let time = clock_gettime(clock);
        i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
    };
    let real = nanos(ClockId::Realtime) - nanos(ClockId::Boottime) + i128::from(at);
    let second = i64::try_from(real.div_euclid(1_000_000_000)).ok()?;
    Some(jiff::Timestamp::from_second(second).ok()?.to_string())
}

#[cfg(test)]
pub(in crate::attribution) mod tests;
