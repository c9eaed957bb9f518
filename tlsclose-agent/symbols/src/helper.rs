//! The helper's side: a process without privileges that reads files which may be hostile.
//!
//! It may crash or hang; the agent notices, ends it and starts another one.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::net::SendFlags;

use crate::confine::{Confined, confine};
use crate::elf::Elf;
use crate::entry_points::EntryPoints;
use crate::go_table::GoTable;
use crate::names::Namer;
use crate::perf_map::{PerfMap, PerfMaps};
use crate::protocol::{Answer, FdReader, Name, PLACES_MAX, Place, Request, encode, receive, send_with_fd};
use crate::rule::Caller;
use crate::runtime::{Runtime, runtime};
use crate::unwind::caller;

/// What `tlsclose symbolize` does: answers requests on standard input, a Unix socket, until the
/// other side closes it. `heap` is what it may allocate, in bytes. To be called before the process has
/// a second thread.
pub fn helper_main(heap: u64) -> ExitCode {
    let socket = io::stdin();
    let ready = match confine(heap) {
        Ok(Confined { uid, landlock }) => Answer::Ready { uid, landlock },
        Err(error) => Answer::Refused(format!("cannot give up privileges: {error}")),
    };
    let confined = matches!(ready, Answer::Ready { .. });
    let said = send(&socket, &ready);
    if confined && said.is_ok() && serve(&socket).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn serve(socket: impl AsFd) -> io::Result<()> {
    let mut loaded = Loaded::default();
    loop {
        let mut reader = FdReader { socket: socket.as_fd(), fd: None };
        let request = match receive(&mut reader) {
            Ok(request) => request,
            Err(end) if end.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        let fd = reader.fd;
        send(&socket, &answer(&mut loaded, request, fd)?)?;
    }
}

/// What the agent has handed over.
#[derive(Default)]
struct Loaded {
    modules: HashMap<u32, Module>,
    jit: PerfMaps,
}

fn answer(loaded: &mut Loaded, request: Request, fd: Option<OwnedFd>) -> io::Result<Answer> {
    let Loaded { modules, jit } = loaded;
    let unknown = || Answer::Refused("unknown module".into());
    Ok(match request {
        Request::Load { module, debug_info } => {
            let Some(fd) = fd else {
                return Ok(Answer::Refused("no file".into()));
            };
            let loaded = Module::new(fd, debug_info)?;
            let answer = loaded.answer();
            modules.insert(module, loaded);
            answer
        }
        Request::Debug { module, debug_info } => match (modules.get_mut(&module), fd) {
            (Some(module), Some(fd)) => match module.take_debug(fd, debug_info) {
                true => module.answer(),
                false => Answer::Refused("of another build".into()),
            },
            _ => unknown(),
        },
        Request::Unload { module } => {
            modules.remove(&module);
            Answer::Unloaded
        }
        Request::Names { places, .. } if places.len() > PLACES_MAX => Answer::Refused("too many places".into()),
        Request::Names { module, by_debug, places } => match modules.get_mut(&module) {
            Some(module) => Answer::Names(module.names(&places, by_debug)),
            None => unknown(),
        },
        Request::LoadJit { process } => {
            let Some(fd) = fd else {
                return Ok(Answer::Refused("no file".into()));
            };
            // Before there is another one.
            jit.remove(process);
            let mut file = File::from(fd);
            // Whoever wrote the copy left the position at its end.
            io::Seek::rewind(&mut file)?;
            Answer::Maps(jit.keep(process, PerfMap::read(file)))
        }
        Request::JitNames { process, addresses } => {
            let map = jit.get(process);
            let name = |address: &u64| map.and_then(|map| map.name(*address)).into_iter().collect();
            Answer::Names(addresses.iter().map(name).collect())
        }
        Request::Caller { module, offset, is_leaf } => match modules.get_mut(&module) {
            Some(module) => Answer::Caller(module.caller(offset, is_leaf).into()),
            None => unknown(),
        },
        Request::Python { module } => match modules.get(&module) {
            Some(module) => Answer::Python(module.python()),
            None => unknown(),
        },
    })
}

struct Module {
    // Before `elf`, whose descriptor its path leads through.
    namer: Namer,
    elf: Elf,
    /// Names by the separate debug file, which is behind them.
    debug: Option<(Namer, Elf)>,
    /// Read when first asked for.
    starts: Option<EntryPoints>,
    /// In a program of Go.
    go_table: Option<GoTable>,
}

impl Module {
    fn new(fd: OwnedFd, debug_info: bool) -> io::Result<Self> {
        let path = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let elf = Elf::new(File::from(fd));
        let namer = Namer::new(&path, debug_info && !elf.links_to_a_trap());
        let go_table = elf.parse().and_then(|file| GoTable::of(&file));
        Ok(Self { namer, elf, debug: None, starts: None, go_table })
    }

    fn answer(&self) -> Answer {
        Answer::Loaded {
            build_id: self.elf.build_id(),
            wants_debug: !self.elf.has_debug_info(),
            debug_link: self.elf.debug_link().map(|(name, _)| name),
        }
    }

    /// False when the file belongs to another build.
    fn take_debug(&mut self, fd: OwnedFd, debug_info: bool) -> bool {
        let path = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let debug = Elf::new(File::from(fd));
        let fits = self.elf.is_of_build(&debug);
        if fits {
            let namer = Namer::new(&path, debug_info && !debug.links_to_a_trap());
            self.debug = Some((namer, debug));
        }
        fits
    }

    /// By the separate debug file if it is asked for, and where that knows nothing by the file itself; without symbols
    /// by Go's own table.
    fn names(&mut self, places: &[Place], by_debug: bool) -> Vec<Vec<Name>> {
        let mut names = self.namer.names(places);
        if let Some((namer, _)) = self.debug.as_mut().filter(|_| by_debug) {
            let address = |place: &Place| self.elf.address(place.looked_up());
            let addresses: Vec<u64> = places.iter().map(|place| address(place).unwrap_or(u64::MAX)).collect();
            for (names, better) in names.iter_mut().zip(namer.names_of_addresses(&addresses)) {
                if !better.is_empty() {
                    *names = better;
                }
            }
        }
        if let Some(table) = &self.go_table {
            for (names, place) in names.iter_mut().zip(places).filter(|(names, _)| names.is_empty()) {
                names.extend(self.elf.address(place.looked_up()).and_then(|address| table.name(address)));
            }
        }
        names
    }

    fn caller(&mut self, offset: u64, is_leaf: bool) -> Caller {
        let Some(file) = self.elf.parse() else { return Caller::Unknown };
        let starts = self.starts.get_or_insert_with(|| EntryPoints::of(&file, self.go_table.as_ref()));
        caller(&file, self.elf.data(), starts, offset, is_leaf)
    }

    fn python(&self) -> Option<Runtime> {
        runtime(&self.elf.parse()?)
    }
}

fn send(socket: impl AsFd, answer: &Answer) -> io::Result<()> {
    let bytes = encode(answer).or_else(|error| encode(&Answer::Refused(error.to_string())))?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let sent = send_with_fd(&socket, rest, None, SendFlags::NOSIGNAL)?;
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}
