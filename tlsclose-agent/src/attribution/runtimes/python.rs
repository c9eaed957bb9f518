//! Python: which processes are CPython, how their stacks are walked, and what their frames are.
//!
//! An interpreter is recognised by its executable or by libpython: the symbol `_PyRuntime`, and
//! the version. The kernel side is told where the process keeps its thread states, and from then
//! on sends frames of Python with the code objects they refer to; nothing is read from the
//! process's memory here. An interpreter that is not known gets native frames.

mod code;
mod lines;
mod versions;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tlsclose_common::facts::{Interpreter, PythonCode, PythonFrame, PythonStart, StackHeader, told};
use tlsclose_symbols::runtime::Runtime;

use self::code::{Code, Codes};
use crate::attribution::bounded::Bounded;
use crate::attribution::modules::{MappedModules, ModuleId, Modules};
use crate::attribution::symbols::{Answered, NotNow, SoFar, Symbolizer};
use tlsclose_core::model::Frame;
use tlsclose_core::model::ProcessId;

/// In a code path, frames of Python stand under this module; the offset is their number.
pub const MODULE: ModuleId = ModuleId(u32::MAX);

/// Processes remembered, CPython or not.
const IMAGES_MAX: usize = 4096;
/// Files remembered, CPython or not.
const RUNTIMES_MAX: usize = 1024;
/// Distinct lines of Python kept.
const PLACES_MAX: usize = 65_536;
/// Starts of Python programs that are looked at per second, half a millisecond each; the others
/// are recognised at their first stack.
const STARTS_PER_SECOND: u32 = 50;
/// Interpreters that are reported as unknown.
const UNKNOWN_MAX: usize = 16;

/// A line of Python.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PythonLine {
    function: Option<Arc<str>>,
    file: Option<Arc<str>>,
    line: Option<u32>,
}

/// What could not be kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct PythonLost {
    /// The stack was taken before the kernel side knew that the process is CPython.
    pub late: u64,
    /// A code object that a frame refers to has not arrived or was forgotten.
    pub code_missing: u64,
    /// [`PLACES_MAX`] was reached.
    pub full: u64,
}

/// Everything that is known about Python processes.
#[derive(Debug, Default)]
pub struct Python {
    runtimes: Bounded<ModuleId, Option<Runtime>, RUNTIMES_MAX>,
    /// None: not CPython, or not one that is known.
    images: Bounded<u64, Option<Interpreter>, IMAGES_MAX>,
    codes: Codes,
    /// Since when, and how many starts were looked at.
    starts: Option<(Instant, u32)>,
    numbers: HashMap<PythonLine, u64>,
    /// By number.
    places: Vec<PythonLine>,
    /// Versions that are not known, by file.
    unknown: BTreeMap<String, String>,
    /// Stacks and code objects that the kernel side must send again.
    forgotten: Forgotten,
    pub lost: PythonLost,
}

/// What the kernel side must send again.
#[derive(Debug, Default)]
pub struct Forgotten {
    pub stacks: Vec<u64>,
    pub codes: Vec<u64>,
}

impl Python {
    /// A program whose name begins with `python` was started: how to walk it, if its mappings say
    /// so already.
    pub fn started(
        &mut self,
        start: &PythonStart,
        modules: &mut Modules,
        symbols: &mut Symbolizer,
    ) -> Option<(u64, Interpreter)> {
        let begin = Instant::now();
        if !self.allows_start(begin) {
            return None;
        }
        let mapped = modules.of_process(ProcessId { tgid: start.tgid, started_at: start.started_at })?;
        let interpreter = self.look(&mapped, modules, symbols).ok()??;
        log::debug!("process {} recognised as CPython in {:?}", start.tgid, begin.elapsed());
        self.remember(start.image, Some(interpreter));
        Some((start.image, interpreter))
    }

    /// For a stack of native frames: whether it must be dropped because its process is CPython
    /// and the kernel side did not know that; and what it is to be told.
    ///
    /// With only the interpreter's own functions, all causes of the process would look the same.
    pub fn late(
        &mut self,
        header: &StackHeader,
        mapped: &MappedModules,
        modules: &Modules,
        symbols: &mut Symbolizer,
    ) -> SoFar<Option<(u64, Interpreter)>> {
        if header.python != told::NOTHING {
            return SoFar::default();
        }
        if !self.images.contains(&header.image) {
            match self.look(mapped, modules, symbols) {
                Ok(interpreter) => self.remember(header.image, interpreter),
                Err(why) => return SoFar { known: None, is_pending: why == NotNow::Pending },
            }
        }
        let Some(interpreter) = self.images.get(&header.image).copied().flatten() else { return SoFar::default() };
        self.lost.late += 1;
        self.forgotten.stacks.push(header.key);
        SoFar::all(Some((header.image, interpreter)))
    }

    /// Takes in a code object.
    pub fn code(&mut self, code: &PythonCode) {
        self.codes.insert(code.id, Code::new(code));
    }

    /// The frames as places of [`MODULE`], innermost first. None when one is not to be told, or
    /// there are none.
    pub fn places(&mut self, header: &StackHeader, frames: &[PythonFrame]) -> Option<Vec<(ModuleId, u64)>> {
        let mut places = Vec::with_capacity(frames.len());
        for frame in frames.iter().filter(|frame| frame.code != 0) {
            let Some(code) = self.codes.get(frame.code) else {
                self.lost.code_missing += 1;
                self.forgotten.stacks.push(header.key);
                self.forgotten.codes.push(frame.code);
                return None;
            };
            if code.is_shim() {
                continue;
            }
            let line = code.line(frame.instruction);
            places.push(PythonLine { function: code.function.clone(), file: code.file.clone(), line });
        }
        let numbers: Option<Vec<u64>> = places.into_iter().map(|place| self.number(place)).collect();
        let Some(numbers) = numbers else {
            self.lost.full += 1;
            return None;
        };
        let places: Vec<_> = numbers.into_iter().map(|number| (MODULE, number)).collect();
        (!places.is_empty()).then_some(places)
    }

    /// A frame by its number.
    pub fn frame(&self, number: u64) -> Frame {
        let place = usize::try_from(number).ok().and_then(|number| self.places.get(number));
        place.map_or_else(Frame::default, |place| Frame {
            function: place.function.clone(),
            file: place.file.clone(),
            line: place.line,
            ..Frame::default()
        })
    }

    /// What was forgotten since this was asked last.
    pub fn forgotten(&mut self) -> Forgotten {
        let mut forgotten = std::mem::take(&mut self.forgotten);
        forgotten.codes.append(&mut self.codes.dropped);
        forgotten
    }

    /// Interpreters seen whose stacks cannot be walked: version and file.
    pub fn unknown(&self) -> impl Iterator<Item = String> + '_ {
        self.unknown.iter().map(|(file, version)| format!("{version} ({file})"))
    }

    fn allows_start(&mut self, now: Instant) -> bool {
        let (since, count) = self.starts.get_or_insert((now, 0));
        if now.saturating_duration_since(*since) >= Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= STARTS_PER_SECOND
    }

    fn number(&mut self, place: PythonLine) -> Option<u64> {
        if let Some(number) = self.numbers.get(&place) {
            return Some(*number);
        }
        if self.places.len() >= PLACES_MAX {
            return None;
        }
        let number = self.places.len() as u64;
        self.places.push(place.clone());
        self.numbers.insert(place, number);
        Some(number)
    }

    fn remember(&mut self, image: u64, interpreter: Option<Interpreter>) {
        self.images.put(image, interpreter);
    }

    fn look(
        &mut self,
        mapped: &MappedModules,
        modules: &Modules,
        symbols: &mut Symbolizer,
    ) -> Answered<Option<Interpreter>> {
        let mut unanswered = None;
        for (module, base) in candidates(mapped, modules) {
            let runtime = match self.runtime(module, modules, symbols) {
                Ok(Some(runtime)) => runtime,
                Ok(None) => continue,
                Err(why) => {
                    unanswered = Some(why);
                    continue;
                }
            };
            let path = modules.get(module).map(|module| module.path.to_string()).unwrap_or_default();
            match versions::interpreter(runtime, base) {
                Ok(interpreter) => return Ok(Some(interpreter)),
                Err(version) if self.unknown.len() < UNKNOWN_MAX => {
                    if self.unknown.insert(path.clone(), version.clone()).is_none() {
                        log::warn!("{version} in {path} is not known: its stacks show the interpreter's functions");
                    }
                }
                Err(_) => {}
            }
        }
        unanswered.map_or(Ok(None), Err)
    }

    fn runtime(&mut self, module: ModuleId, modules: &Modules, symbols: &mut Symbolizer) -> Answered<Option<&Runtime>> {
        if !self.runtimes.contains(&module) {
            let runtime = symbols.python(modules, module)?;
            self.runtimes.put(module, runtime);
        }
        Ok(self.runtimes.get(&module).and_then(Option::as_ref))
    }
}

/// Modules that may hold the interpreter, and where their files' beginnings are mapped: libpython;
/// a program called python; any program that loaded an extension module.
fn candidates(mapped: &MappedModules, modules: &Modules) -> Vec<(ModuleId, u64)> {
    let name = |module: ModuleId| {
        let path = modules.get(module).map(|module| &*module.path)?;
        Some(path.rsplit('/').next().unwrap_or(path))
    };
    let ranges = mapped.bases();
    let named = |prefix: &str, module| name(module).is_some_and(|name| name.starts_with(prefix));
    let has_extensions = ranges.iter().any(|(module, _)| name(*module).is_some_and(|n| n.contains(".cpython-3")));
    let is_candidate = |index: usize, module: ModuleId| {
        named("libpython3", module) || named("python", module) || (index == 0 && has_extensions)
    };
    let found = ranges.iter().enumerate().filter(|(index, (module, _))| is_candidate(*index, *module));
    found.map(|(_, range)| *range).collect()
}

#[cfg(test)]
mod tests;
