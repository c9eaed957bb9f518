//! Names for places in modules, and rules for leaves, worked out where a hostile file can do no
//! harm: by a helper process of the same binary that has no privileges.
//!
//! ```text
//!  Symbolizer ── request ──► helper: ELF, DWARF, unwind tables
//!      ▲  └──── sealed copy of the module's file (once) ──►│
//!      └──────────────────── answer ◄──────────────────────┘
//! ```
//!
//! A helper that crashes, hangs or talks nonsense is killed and counted; what it was asked for
//! stays module and offset. Of a module that cost a helper only the symbol table is read the next
//! time; one that cost two is never handed to one again.

pub mod helper;

mod cache;
mod client;
mod code;
mod confine;
mod copy;
mod demangle;
mod elf;
mod frames;
mod go_table;
mod jit;
mod names;
mod perf_map;
mod protocol;
mod returns;
mod runtime;
mod sandbox;
mod starts;
mod strikes;
mod unwind;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::modules::{ModuleId, Modules};
use super::site::is_runtime_module;
use super::stacks::Caller;
use super::worker::Worker;
use crate::finding::Frame;
use cache::Cache;
use client::{Copy, Helper, Launch, nonsense};
use frames::{checked, clean, frames, is_build_id};
pub use jit::JitName;
use protocol::{Answer, INLINED_MAX, Name, PLACES_MAX, Place, Request};
pub use runtime::Runtime;
use strikes::{Starts, Strikes};

/// For names, in a module that was asked about before.
const NAMES_DEADLINE: Duration = Duration::from_secs(2);

/// For the first look at a module: its copy, its parsing, and the first names in it, each.
const FIRST_DEADLINE: Duration = Duration::from_secs(5);

/// For finding and copying a separate debug file.
const DEBUG_DEADLINE: Duration = Duration::from_secs(2);

/// For all names of one call.
const CALL_DEADLINE: Duration = Duration::from_secs(15);

const LEAF_DEADLINE: Duration = Duration::from_millis(500);

/// A helper without work for this long is ended, which gives its memory back.
const IDLE: Duration = Duration::from_secs(30);

/// Places whose names are remembered: at least this many, at most twice.
const NAMES_KEPT: usize = 16_384;

type Names = HashMap<(ModuleId, Place), Arc<[Name]>>;

/// Names places and learns leaf rules. All its calls may take as long as the deadlines above, so
/// call it from a thread that may wait, and that lives on: a helper ends with the thread that
/// started it (and is then started again).
#[derive(Debug)]
pub struct Symbolizer {
    launch: Launch,
    helper: Option<Helper>,
    starts: Starts,
    worker: Worker,
    strikes: Strikes,
    /// Processes whose maps of JIT code cost a helper.
    jit_struck: BTreeSet<u64>,
    /// What was named lately.
    names: Cache<(ModuleId, Place), Arc<[Name]>>,
    used_at: Instant,
    /// Helpers that crashed, hung, talked nonsense or could not be started.
    pub failures: u64,
}

impl Default for Symbolizer {
    fn default() -> Self {
        Self::new(Launch::default())
    }
}

impl Symbolizer {
    fn new(launch: Launch) -> Self {
        Self {
            launch,
            helper: None,
            starts: Starts::default(),
            worker: Worker::default(),
            strikes: Strikes::default(),
            jit_struck: BTreeSet::new(),
            names: Cache::new(NAMES_KEPT),
            used_at: Instant::now(),
            failures: 0,
        }
    }

    /// The frames of each place: (module, offset in its file, whether it is a return address).
    /// Innermost first; several where functions were inlined, at least one always. Module and
    /// offset are there for every module that is not forgotten.
    pub fn names(&mut self, modules: &Modules, places: &[(ModuleId, u64, bool)]) -> Vec<Vec<Frame>> {
        let end = Instant::now() + CALL_DEADLINE;
        let mut known = Names::new();
        // Modules that cost a helper before come last.
        let mut missing = BTreeMap::<(u8, ModuleId), BTreeSet<Place>>::new();
        for (module, place) in places.iter().map(of_tuple) {
            if let Some(names) = self.names.get(&(module, place)) {
                known.insert((module, place), names);
            } else {
                let order = (self.strikes.of(module), module);
                missing.entry(order).or_default().insert(place);
            }
        }
        for ((_, module), places) in missing {
            let places = Vec::from_iter(places);
            self.name_module(modules, module, &places, end, &mut known);
        }
        let frames = places.iter().map(of_tuple).map(|(module, place)| {
            let names = known.get(&(module, place)).map_or(&[][..], |n| n);
            frames(modules, module, place.offset, names)
        });
        frames.collect()
    }

    /// How to find the caller of the code at an offset; of a return address, the offset of the
    /// call. None when that cannot be said now.
    pub fn caller(&mut self, modules: &Modules, module: ModuleId, offset: u64, is_leaf: bool) -> Option<Caller> {
        let known = modules.get(module)?;
        if known.file().is_none() || self.strikes.is_out(module) {
            return Some(Caller::Unknown);
        }
        let first = self.load(modules, module)?;
        let deadline = if first { FIRST_DEADLINE } else { LEAF_DEADLINE };
        let request = Request::Caller { module: module.0, offset, is_leaf };
        match self.ask(module, &request, deadline)? {
            Answer::Caller(rule) => Some(checked(rule)),
            other => {
                self.failed(Some(module), &nonsense(&other));
                None
            }
        }
    }

    /// Where a module keeps CPython's runtime. None when that cannot be said now, Some(None) when
    /// it is no CPython.
    pub fn python(&mut self, modules: &Modules, module: ModuleId) -> Option<Option<Runtime>> {
        let has_file = modules.get(module)?.file().is_some();
        if !has_file || self.strikes.is_out(module) {
            return Some(None);
        }
        self.load(modules, module)?;
        let request = Request::Python { module: module.0 };
        match self.ask(module, &request, FIRST_DEADLINE)? {
            Answer::Python(runtime) => Some(runtime),
            other => {
                self.failed(Some(module), &nonsense(&other));
                None
            }
        }
    }

    /// To be called now and then: ends a helper that had no work for 30 s.
    pub fn idle(&mut self, now: Instant) {
        if now.saturating_duration_since(self.used_at) >= IDLE {
            self.helper = None;
        }
    }

    fn name_module(&mut self, modules: &Modules, module: ModuleId, places: &[Place], end: Instant, known: &mut Names) {
        for places in places.chunks(PLACES_MAX) {
            if Instant::now() >= end {
                return;
            }
            let Some(mut first) = self.load(modules, module) else {
                return;
            };
            if self.helper.as_mut().is_some_and(|helper| helper.should_get_debug(module)) {
                first = true;
                if self.load_debug(modules, module).is_none() {
                    return;
                }
            }
            let deadline = if first { FIRST_DEADLINE } else { NAMES_DEADLINE };
            let request = Request::Names { module: module.0, places: places.to_vec() };
            match self.ask(module, &request, deadline) {
                Some(Answer::Names(names)) if names.len() == places.len() => {
                    for (place, names) in places.iter().zip(names) {
                        let names = names.into_iter().take(INLINED_MAX).map(clean);
                        let names = Arc::<[Name]>::from_iter(names);
                        self.names.insert((module, *place), Arc::clone(&names));
                        known.insert((module, *place), names);
                    }
                }
                Some(other) => return self.failed(Some(module), &nonsense(&other)),
                None => return,
            }
        }
    }

    /// Sees to it that a helper has the module. True when it got it just now.
    fn load(&mut self, modules: &Modules, module: ModuleId) -> Option<bool> {
        if self.strikes.is_out(module) {
            return None;
        }
        // It may have ended meanwhile, which is nobody's fault.
        self.helper.take_if(|helper| !helper.is_alive());
        if self.helper.as_ref().is_some_and(|h| h.has_loaded(module)) {
            return Some(false);
        }
        let known = modules.get(module)?;
        let (file, size) = (Arc::clone(known.file()?), known.size);
        self.start()?;
        let copying = move || copy::sealed_copy(&file, size);
        let Some(data) = self.worker.run(FIRST_DEADLINE, copying).flatten() else {
            self.strikes.add(module);
            return None;
        };
        let copy = Copy { data, size, debug_info: self.strikes.of(module) == 0 };
        self.used_at = Instant::now();
        let deadline = self.used_at + FIRST_DEADLINE;
        let helper = self.helper.as_mut()?;
        match helper.load(module, &copy, deadline) {
            Ok(Answer::Loaded { build_id, debug_link, .. }) => {
                if let Some(build_id) = build_id.filter(|id| is_build_id(id)) {
                    known.set_build_id(build_id);
                }
                if let Some(link) = debug_link {
                    known.set_debug_link(link);
                }
                Some(true)
            }
            Ok(other) => {
                self.failed(Some(module), &nonsense(&other));
                None
            }
            Err(error) => {
                self.failed(Some(module), &error);
                None
            }
        }
    }

    /// Hands over the separate debug file of a module, if there is one. None when the helper failed.
    fn load_debug(&mut self, modules: &Modules, module: ModuleId) -> Option<()> {
        let known = modules.get(module)?;
        let Some(search) = modules.debug_search(module, known.build_id(), known.debug_link()) else {
            return Some(());
        };
        // Of libc the names do: its lines say nothing about the cause, and take long to read.
        let debug_info = !is_runtime_module(&known.path);
        let copied = self.worker.run(DEBUG_DEADLINE, move || {
            let found = search.find().into_iter();
            let copy =
                |(file, size): (File, u64)| Some(Copy { data: copy::sealed_copy(&file, size)?, size, debug_info });
            found.filter_map(copy).collect::<Vec<_>>()
        });
        for copy in copied.unwrap_or_default() {
            let deadline = Instant::now() + FIRST_DEADLINE;
            match self.helper.as_mut()?.load_debug(module, &copy, deadline) {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => {
                    self.failed(Some(module), &error);
                    return None;
                }
            }
        }
        Some(())
    }

    fn start(&mut self) -> Option<()> {
        if self.helper.is_some() {
            return Some(());
        }
        if !self.starts.allow(Instant::now()) {
            return None;
        }
        self.used_at = Instant::now();
        match Helper::start(&self.launch) {
            Ok(helper) => {
                if helper.uid == 0 {
                    log::warn!("the symbol helper runs as root, without capabilities");
                }
                self.helper = Some(helper);
                Some(())
            }
            Err(error) => {
                self.failed(None, &error);
                None
            }
        }
    }

    fn ask(&mut self, module: ModuleId, request: &Request, deadline: Duration) -> Option<Answer> {
        let deadline = Instant::now() + deadline;
        let helper = self.helper.as_mut()?;
        let answer = helper.ask_about(module, request, deadline);
        self.used_at = Instant::now();
        match answer {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.failed(Some(module), &error);
                None
            }
        }
    }

    /// Ends the helper, and remembers what it was working on.
    fn failed(&mut self, module: Option<ModuleId>, error: &io::Error) {
        self.failures += 1;
        self.helper = None;
        match module {
            Some(module) => {
                self.strikes.add(module);
                log::debug!("the symbol helper failed on module {}: {error}", module.0);
            }
            None => log::warn!("cannot start the symbol helper: {error}; stacks stay unnamed"),
        }
    }
}

fn of_tuple(&(module, offset, is_return_address): &(ModuleId, u64, bool)) -> (ModuleId, Place) {
    let place = Place { offset, is_return_address };
    (module, place)
}

#[cfg(test)]
pub(in crate::attribution) mod tests;
