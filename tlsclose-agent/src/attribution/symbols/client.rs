//! The agent's side of one helper process.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::SendFlags;
use tlsclose_symbols::protocol::{Answer, Name, Request, encode, receive, send_with_fd};

use super::loads::{Copy, DebugId, Load};
use crate::attribution::modules::{MODULES_MAX, ModuleId};

/// Copies of modules held for a helper.
const LOADED_MAX: usize = 64;

/// From the start of the process to its first word.
const READY_DEADLINE: Duration = Duration::from_secs(2);

/// Small requests that need no thought.
const SMALL_DEADLINE: Duration = Duration::from_millis(500);

/// How long a killed helper is waited for.
const REAP_DEADLINE: Duration = Duration::from_millis(200);

/// How a helper is started.
#[derive(Clone, Debug)]
pub struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// All of its environment.
    pub environment: Vec<(OsString, OsString)>,
}

impl Default for Launch {
    /// This program itself, also when its file was replaced or deleted meanwhile.
    fn default() -> Self {
        Self { program: "/proc/self/exe".into(), arguments: vec!["symbolize".into()], environment: Vec::new() }
    }
}

/// A running helper. Killed and reaped when dropped.
#[derive(Debug)]
pub struct Helper {
    child: Child,
    socket: UnixStream,
    loaded: HashMap<Load, Loaded>,
    /// Processes whose maps of JIT code it has, as it says.
    jit: Vec<u64>,
    requests: u64,
    /// The user it runs as.
    pub uid: u32,
    /// Landlock keeps it from opening files.
    pub landlock: bool,
}

#[derive(Debug)]
struct Loaded {
    /// In bytes.
    size: u64,
    /// [`Helper::requests`] when it was last asked about.
    used: u64,
    /// There may be separate debug files.
    wants_debug: bool,
    /// The separate debug file that it has now, and its size in bytes.
    debug: Option<(DebugId, u64)>,
    /// Modules whose separate debug file was looked for.
    searched: HashSet<ModuleId>,
}

impl Helper {
    /// Starts a helper and waits until it is confined. It lives no longer than the thread that
    /// calls this (PR_SET_PDEATHSIG).
    pub fn start(launch: &Launch) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let child = Command::new(&launch.program)
            .arg0("tlsclose")
            .args(&launch.arguments)
            .env_clear()
            .envs(launch.environment.iter().cloned())
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut helper =
            Self { child, socket: ours, loaded: HashMap::new(), jit: Vec::new(), requests: 0, uid: 0, landlock: false };
        match helper.receive(Instant::now() + READY_DEADLINE)? {
            Answer::Ready { uid, landlock } => (helper.uid, helper.landlock) = (uid, landlock),
            other => return Err(nonsense(&other)),
        }
        Ok(helper)
    }

    #[cfg(test)]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// True when it ended by itself, or by somebody's signal, with nothing to do.
    pub fn reap_if_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    pub fn has_loaded(&self, load: Load) -> bool {
        self.loaded.contains_key(&load)
    }

    /// Drops what was not asked about for longest, until one more copy of this size makes no more than `most` bytes.
    pub fn make_room(&mut self, size: u64, most: u64) -> io::Result<()> {
        while self.loaded.len() >= LOADED_MAX || self.bytes() + size > most {
            let oldest = self.loaded.iter().min_by_key(|(_, loaded)| loaded.used);
            let Some(oldest) = oldest.map(|(load, _)| *load) else {
                break;
            };
            self.loaded.remove(&oldest);
            let unload = Request::Unload { module: oldest.number() };
            self.ask(&unload, None, Instant::now() + SMALL_DEADLINE)?;
        }
        Ok(())
    }

    /// Hands over contents of modules, for which there is room.
    /// Answers [`Answer::Loaded`] or [`Answer::Refused`].
    pub fn load(&mut self, load: Load, copy: &Copy, deadline: Instant) -> io::Result<Answer> {
        let request = Request::Load { module: load.number(), debug_info: load.debug_info };
        let answer = self.ask(&request, Some(copy.data.as_fd()), deadline)?;
        if let Answer::Loaded { wants_debug, .. } = answer {
            let wants_debug = wants_debug && load.debug_info;
            let (size, used, searched) = (copy.size, self.requests, HashSet::new());
            self.loaded.insert(load, Loaded { size, used, wants_debug, debug: None, searched });
        }
        Ok(answer)
    }

    /// There may be separate debug files of these contents.
    pub fn wants_debug(&self, load: Load) -> bool {
        self.loaded.get(&load).is_some_and(|loaded| loaded.wants_debug)
    }

    /// True once for each module: its separate debug file is to be looked for.
    pub fn should_search(&mut self, load: Load, module: ModuleId) -> bool {
        self.loaded.get_mut(&load).is_some_and(|loaded| {
            if loaded.searched.len() >= MODULES_MAX {
                loaded.searched.clear();
            }
            loaded.searched.insert(module)
        })
    }

    /// The separate debug file that the contents have now.
    pub fn debug(&self, load: Load) -> Option<DebugId> {
        self.loaded.get(&load)?.debug.map(|(debug, _)| debug)
    }

    /// Hands over what may be a debug file of loaded contents, in place of the one they have.
    /// False when it is another's.
    pub fn load_debug(&mut self, load: Load, debug: DebugId, copy: &Copy, deadline: Instant) -> io::Result<bool> {
        if !self.has_loaded(load) {
            return Ok(false);
        }
        let request = Request::Debug { module: load.number(), debug_info: debug.debug_info };
        match self.ask(&request, Some(copy.data.as_fd()), deadline)? {
            Answer::Loaded { .. } => {
                if let Some(loaded) = self.loaded.get_mut(&load) {
                    loaded.debug = Some((debug, copy.size));
                }
                Ok(true)
            }
            Answer::Refused(_) => Ok(false),
            other => Err(nonsense(&other)),
        }
    }

    /// Of the copies that it holds.
    pub fn bytes(&self) -> u64 {
        self.loaded.values().map(|loaded| loaded.size + loaded.debug.map_or(0, |(_, size)| size)).sum()
    }

    /// What it has allocated, in bytes, as `RLIMIT_DATA` counts it (proc_pid_statm(5)). 0 where nobody says so.
    pub fn heap(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap_or_default();
        let data = statm.split_ascii_whitespace().nth(5).and_then(|pages| pages.parse::<u64>().ok());
        data.unwrap_or(0) * rustix::param::page_size() as u64
    }

    /// Asks about loaded contents. After an error the helper is of no more use.
    pub fn ask_about(&mut self, load: Load, request: &Request, deadline: Instant) -> io::Result<Answer> {
        if let Some(loaded) = self.loaded.get_mut(&load) {
            loaded.used = self.requests;
        }
        self.ask(request, None, deadline)
    }

    /// Hands over the map of a JIT compiler.
    pub fn load_jit(&mut self, process: u64, data: &OwnedFd, deadline: Instant) -> io::Result<()> {
        match self.ask(&Request::LoadJit { process }, Some(data.as_fd()), deadline)? {
            Answer::Maps(kept) => {
                self.jit = kept;
                Ok(())
            }
            other => Err(nonsense(&other)),
        }
    }

    pub fn has_jit(&self, process: u64) -> bool {
        self.jit.contains(&process)
    }

    pub fn jit_names(&mut self, process: u64, addresses: &[u64], deadline: Instant) -> io::Result<Vec<Vec<Name>>> {
        match self.ask(&Request::JitNames { process, addresses: addresses.to_vec() }, None, deadline)? {
            Answer::Names(names) if names.len() == addresses.len() => Ok(names),
            other => Err(nonsense(&other)),
        }
    }

    fn ask(&mut self, request: &Request, fd: Option<BorrowedFd<'_>>, deadline: Instant) -> io::Result<Answer> {
        self.requests += 1;
        self.send(&encode(request)?, fd, deadline)?;
        self.receive(deadline)
    }

    fn send(&self, bytes: &[u8], fd: Option<BorrowedFd<'_>>, deadline: Instant) -> io::Result<()> {
        let mut fd = fd;
        let mut rest = bytes;
        while !rest.is_empty() {
            self.socket.set_write_timeout(Some(until(deadline)?))?;
            let sent = send_with_fd(&self.socket, rest, fd.take(), SendFlags::NOSIGNAL)?;
            rest = rest.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    fn receive(&self, deadline: Instant) -> io::Result<Answer> {
        receive(Timed { socket: &self.socket, deadline })
    }

    /// One that hangs in the kernel stays a zombie until the agent ends.
    fn kill(&mut self) {
        let _ = self.child.kill();
        let end = Instant::now() + REAP_DEADLINE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads from a socket until a deadline.
struct Timed<'a> {
    socket: &'a UnixStream,
    deadline: Instant,
}

impl Read for Timed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(until(self.deadline)?))?;
        let mut socket = self.socket;
        socket.read(into)
    }
}

fn until(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    Ok(left)
}

/// An answer that does not belong to the question.
pub fn nonsense(answer: &Answer) -> io::Error {
    let why = match answer {
        Answer::Refused(why) => tlsclose_core::model::printable(why.as_bytes()),
        _ => "an answer to another question".into(),
    };
    io::Error::new(ErrorKind::InvalidData, why)
}
