//! Names of code that a process made at run time, from the map that its JIT compiler writes for
//! `perf`. What has no name there is not shown: nothing proves that it is code.

pub mod unnamed;

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;

use self::unnamed::JitMaps;
use crate::attribution::bounded::Bounded;
use crate::attribution::process::Procfs;
use crate::attribution::symbols::{JitName, Symbolizer};
use crate::attribution::untrusted_file::{self, Requirements};
use tlsclose_core::model::Frame;
use tlsclose_core::model::ProcessId;

/// A map larger than this is not read, in bytes.
const MAP_MAX: u64 = 64 << 20;

/// How often the map of one process is read again, for addresses that are used again.
const REREAD: Duration = Duration::from_secs(5);

/// A map that lacked something, or was not there, may be read again when so many times the time that it took has gone
/// by: programs write it while they run.
const PAUSE: u32 = 100;

/// Processes whose maps were looked for.
const PROCESSES_MAX: usize = 1024;

/// Distinct functions kept.
const NAMES_MAX: usize = 16_384;

/// When the map of a process was looked for last.
struct Reading {
    at: Instant,
    took: Duration,
    /// It was there, now or before. That of a process that is gone stays true.
    was_there: bool,
}

impl Reading {
    fn is_young(&self) -> bool {
        self.at.elapsed() < REREAD
    }

    fn may_come_again(&self) -> bool {
        self.at.elapsed() >= REREAD.min(self.took * PAUSE)
    }
}

/// Functions of all JIT compilers, by number: the same function has one in every process.
#[derive(Default)]
pub struct Jit {
    read: Bounded<ProcessId, Reading, PROCESSES_MAX>,
    numbers: HashMap<Arc<JitName>, u64>,
    names: Vec<Arc<JitName>>,
}

impl Jit {
    fn number(&mut self, name: JitName) -> Option<u64> {
        if let Some(number) = self.numbers.get(&name) {
            return Some(*number);
        }
        let number = self.names.len() as u64;
        if self.names.len() >= NAMES_MAX {
            return None;
        }
        let name = Arc::new(name);
        self.names.push(Arc::clone(&name));
        self.numbers.insert(name, number);
        Some(number)
    }

    pub fn frame(&self, number: u64) -> Frame {
        let name = usize::try_from(number).ok().and_then(|number| self.names.get(number));
        let (function, file) = name.map(|name| (Some(name.function.clone()), name.file.clone())).unwrap_or_default();
        Frame { function, file, ..Frame::default() }
    }

    pub fn forget(&mut self, process: ProcessId) {
        self.read.pop(&process);
    }
}

/// The maps on this host, of which the helper keeps some.
pub struct HostMaps<'a> {
    pub jit: &'a mut Jit,
    pub procfs: &'a Procfs,
    pub symbols: &'a mut Symbolizer,
}

impl JitMaps for HostMaps<'_> {
    fn is_young(&self, process: ProcessId) -> bool {
        self.jit.read.peek(&process).is_some_and(Reading::is_young)
    }

    fn look(&mut self, process: ProcessId) -> bool {
        let read = &mut self.jit.read;
        let before = read.get(&process);
        if before.is_some_and(|reading| !reading.may_come_again()) {
            return false;
        }
        let was_there = before.is_some_and(|reading| reading.was_there);
        let at = Instant::now();
        let map = PerfMapFile::of(process, self.procfs);
        let loaded = map.and_then(|map| self.symbols.load_jit(process, move || map.open()));
        let took = loaded.unwrap_or_else(|| at.elapsed());
        read.put(process, Reading { at, took, was_there: was_there || loaded.is_some() });
        true
    }

    fn numbers(&mut self, process: ProcessId, addresses: &[u64]) -> Vec<Option<u64>> {
        let was_there = self.jit.read.peek(&process).is_some_and(|reading| reading.was_there);
        if !(was_there && self.symbols.has_jit(process)) {
            return vec![None; addresses.len()];
        }
        let names = self.symbols.jit_names(process, addresses).into_iter();
        names.map(|name| name.and_then(|name| self.jit.number(name))).collect()
    }
}

/// Where the map of a process is: in its own mount namespace, by its PID in its own PID namespace.
struct PerfMapFile {
    root: OwnedFd,
    path: String,
    /// Whose it must be.
    owner: u32,
}

impl PerfMapFile {
    fn of(process: ProcessId, procfs: &Procfs) -> Option<Self> {
        let (pid, owner) = procfs.inner_pid_and_user(process)?;
        Some(Self { root: procfs.root_of(process)?, path: format!("tmp/perf-{pid}.map"), owner })
    }

    /// May hang. Whoever may write to /tmp could put a FIFO, a link or a file of his own there.
    fn open(&self) -> Option<(File, u64)> {
        let wanted = Requirements { at_most: MAP_MAX, owner: Some(self.owner), through_link: false };
        untrusted_file::open(&self.root, self.path.as_ref(), wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::symbols::tests::symbolizer;
    use rustix::fs::{FileType, Mode, OFlags};
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn open(directory: &std::path::Path, owner: u32) -> Option<u64> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(directory, flags, Mode::empty()).unwrap();
        PerfMapFile { root, path: "tmp/perf-7.map".into(), owner }.open().map(|(_, size)| size)
    }

    #[test]
    fn a_map_that_was_not_there_is_looked_for_soon_and_a_slow_one_later() {
        let may = |age: u64, took: u64| {
            let at = Instant::now().checked_sub(Duration::from_millis(age)).unwrap();
            Reading { at, took: Duration::from_millis(took), was_there: true }.may_come_again()
        };
        assert!(may(100, 1) && !may(99, 30) && may(5_000, 2_000) && !may(4_000, 2_000));
    }

    /// The map of a process, gone when dropped.
    struct Map(String);

    impl Drop for Map {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn the_last_map_of_a_process_outlives_it_but_not_its_program() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let map = Map(format!("/tmp/perf-{}.map", child.id()));
        fs::write(&map.0, "1000 10 f\n").unwrap();
        let procfs = Procfs::new("/proc");
        let process = ProcessId { tgid: child.id(), started_at: procfs.started_at(child.id()).unwrap() };
        let (mut jit, mut symbols) = (Jit::default(), symbolizer());
        let mut maps = HostMaps { jit: &mut jit, procfs: &procfs, symbols: &mut symbols };
        let look_again = |maps: &mut HostMaps<'_>| {
            while !maps.look(process) {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        assert_eq!(maps.numbers(process, &[0x1008]), [None], "nobody has looked");
        assert!(!maps.is_young(process) && maps.look(process) && maps.is_young(process));
        assert_eq!(maps.numbers(process, &[0x1008, 0x1010]), [Some(0), None]);
        child.kill().unwrap();
        child.wait().unwrap();
        look_again(&mut maps);
        assert_eq!(maps.numbers(process, &[0x1008]), [Some(0)]);
        maps.jit.forget(process);
        look_again(&mut maps);
        assert_eq!(maps.numbers(process, &[0x1008]), [None], "it may be another program by now");
    }

    #[test]
    fn only_a_regular_file_of_the_processs_own_user_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join("tmp").join(name);
        fs::create_dir(directory.path().join("tmp")).unwrap();
        assert_eq!(open(directory.path(), 0), None, "none is there");
        let map = at("perf-7.map");
        fs::write(&map, "1000 10 f\n").unwrap();
        let uid = fs::metadata(&map).unwrap().uid();
        assert_eq!(open(directory.path(), uid), Some(10));
        assert_eq!(open(directory.path(), uid + 1), None, "of another user");
        fs::rename(&map, at("real")).unwrap();
        symlink("real", &map).unwrap();
        assert_eq!(open(directory.path(), uid), None, "a link");
        fs::remove_file(&map).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &map, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
        assert_eq!(open(directory.path(), uid), None, "a FIFO");
        fs::remove_file(&map).unwrap();
        let huge = File::create(&map).unwrap();
        huge.set_len(MAP_MAX + 1).unwrap();
        assert_eq!(open(directory.path(), uid), None, "too large");
    }
}
