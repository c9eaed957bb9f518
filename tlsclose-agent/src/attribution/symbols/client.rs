//! The agent's side of one helper process.

use std::collections::HashMap;
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

use super::protocol::{Answer, Name, Request, encode, receive, send_with_fd};
use crate::attribution::modules::ModuleId;

/// Copies of modules held for a helper, in bytes and in number.
const LOADED_BYTES_MAX: u64 = 768 << 20;
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

/// The contents of a module, to be handed over.
#[derive(Debug)]
pub struct Copy {
    pub data: OwnedFd,
    /// In bytes.
    pub size: u64,
    /// Whether more than its symbol table is to be read.
    pub debug_info: bool,
}

/// A running helper. Killed and reaped when dropped.
#[derive(Debug)]
pub struct Helper {
    child: Child,
    socket: UnixStream,
    loaded: HashMap<ModuleId, Loaded>,
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
    /// A separate debug file is not needed, or was looked for.
    has_debug: bool,
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

    /// False when it ended by itself, or by somebody's signal, with nothing to do.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub fn has_loaded(&self, module: ModuleId) -> bool {
        self.loaded.contains_key(&module)
    }

    /// Hands over the contents of a module, after making room for it.
    /// Answers [`Answer::Loaded`] or [`Answer::Refused`].
    pub fn load(&mut self, module: ModuleId, copy: &Copy, deadline: Instant) -> io::Result<Answer> {
        while self.loaded.len() >= LOADED_MAX
            || self.loaded.values().map(|l| l.size).sum::<u64>() + copy.size > LOADED_BYTES_MAX
        {
            let oldest = self.loaded.iter().min_by_key(|(_, loaded)| loaded.used);
            let Some(module) = oldest.map(|(module, _)| *module) else {
                break;
            };
            self.loaded.remove(&module);
            let unload = Request::Unload { module: module.0 };
            self.ask(&unload, None, Instant::now() + SMALL_DEADLINE)?;
        }
        let load = Request::Load { module: module.0, debug_info: copy.debug_info };
        let answer = self.ask(&load, Some(copy.data.as_fd()), deadline)?;
        if let Answer::Loaded { wants_debug, .. } = answer {
            let (size, used) = (copy.size, self.requests);
            let has_debug = !(wants_debug && copy.debug_info);
            self.loaded.insert(module, Loaded { size, used, has_debug });
        }
        Ok(answer)
    }

    /// True once, if the module may have a separate debug file.
    pub fn should_get_debug(&mut self, module: ModuleId) -> bool {
        let loaded = self.loaded.get_mut(&module);
        loaded.is_some_and(|loaded| !std::mem::replace(&mut loaded.has_debug, true))
    }

    /// Hands over what may be the debug file of a loaded module. False when it is another's.
    pub fn load_debug(&mut self, module: ModuleId, copy: &Copy, deadline: Instant) -> io::Result<bool> {
        let room = LOADED_BYTES_MAX.saturating_sub(self.loaded.values().map(|l| l.size).sum());
        let Some(loaded) = self.loaded.get_mut(&module).filter(|_| copy.size <= room) else {
            return Ok(false);
        };
        loaded.size += copy.size;
        match self.ask(
            &Request::Debug { module: module.0, debug_info: copy.debug_info },
            Some(copy.data.as_fd()),
            deadline,
        )? {
            Answer::Loaded { .. } => Ok(true),
            Answer::Refused(_) => {
                if let Some(loaded) = self.loaded.get_mut(&module) {
                    loaded.size -= copy.size;
                }
                Ok(false)
            }
            other => Err(nonsense(&other)),
        }
    }

    /// Asks about a loaded module. After an error the helper is of no more use.
    pub fn ask_about(&mut self, module: ModuleId, request: &Request, deadline: Instant) -> io::Result<Answer> {
        if let Some(loaded) = self.loaded.get_mut(&module) {
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
        Answer::Refused(why) => crate::attribution::process::printable(why.as_bytes()),
        _ => "an answer to another question".into(),
    };
    io::Error::new(ErrorKind::InvalidData, why)
}
