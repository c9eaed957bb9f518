//! Names for places in modules, and rules for leaves, worked out where a hostile file can do no
//! harm: by a helper process of the same binary that has no privileges.
//!
//! ```text
//!  Symbolizer ── request ──► helper: ELF, DWARF, unwind tables
//!      ▲  └──── sealed copy of the module's file (once) ──►│
//!      └──────────────────── answer ◄──────────────────────┘
//! ```
//!
//! Modules that hold the same bytes are loaded once, and what was learned of one is known of all.
//!
//! A helper that crashes, hangs or talks nonsense is killed and counted; what it was asked for
//! stays module and offset. Of a module that cost a helper only the symbol table is read the next
//! time; one that cost two is never handed to one again. That is not held against its copies: it
//! may have been the places that were asked for, which the process can choose, or the debug file.

mod answered;
mod cache;
mod client;
mod copies;
mod copy;
mod deadlines;
mod debug_files;
mod frames;
mod helper_backoff;
mod jit;
mod jit_name;
mod known_debug_files;
mod loading;
mod loads;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tlsclose_symbols::protocol::{Answer, INLINED_MAX, Name, PLACES_MAX, Place, Request};
use tlsclose_symbols::rule::Caller;
use tlsclose_symbols::runtime::Runtime;

use super::detached_worker::Worker;
use super::modules::contents::{ContentsId, KnownContents};
use super::modules::{ModuleId, Modules};

use crate::host::memory::Budget;
pub use answered::{Answered, NotNow, SoFar};
use cache::Cache;
use client::{Helper, Launch, nonsense};
use copies::Copies;
use deadlines::{CALL_DEADLINE, FIRST_DEADLINE, LEAF_DEADLINE, NAMES_DEADLINE};
use frames::{checked, clean, frames};
use helper_backoff::{Starts, Strikes};
pub use jit_name::JitName;
use known_debug_files::DebugFiles;
use loads::{DebugFile, DebugId, Load};
use tlsclose_core::model::Frame;

/// A helper without work for this long is ended, which gives its memory back.
const IDLE: Duration = Duration::from_secs(30);

/// Places whose names are remembered: at least this many, at most twice.
const NAMES_KEPT: usize = 16_384;

/// Places whose way to their caller is remembered: at least this many, at most twice.
const CALLERS_KEPT: usize = 32_768;

type Names = HashMap<(ModuleId, Place), Arc<[Name]>>;

/// Where names come from: what the module holds, and its separate debug file.
type Source = (Load, Option<DebugId>);

/// Names places and learns leaf rules. All its calls may take as long as the deadlines above, so
/// call it from a thread that may wait, and that lives on: a helper ends with the thread that
/// started it (and is then started again).
#[derive(Debug)]
pub struct Symbolizer {
    launch: Launch,
    helper: Option<Helper>,
    starts: Starts,
    worker: Worker,
    budget: Budget,
    /// How long a copy is waited for by who can come again, if not by its size.
    patience: Option<Duration>,
    copies: Copies,
    strikes: Strikes,
    /// Processes whose maps of JIT code cost a helper.
    jit_struck: BTreeSet<u64>,
    contents: KnownContents,
    debug_files: DebugFiles,
    /// What was named lately.
    names: Cache<(Source, Place), Arc<[Name]>>,
    /// By file offset, and whether the code there made a system call.
    callers: Cache<(ContentsId, u64, bool), Caller>,
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
            budget: Budget::now(),
            patience: None,
            copies: Copies::default(),
            strikes: Strikes::default(),
            jit_struck: BTreeSet::new(),
            contents: KnownContents::default(),
            debug_files: DebugFiles::default(),
            names: Cache::new(NAMES_KEPT),
            callers: Cache::new(CALLERS_KEPT),
            used_at: Instant::now(),
            failures: 0,
        }
    }

    /// The frames of each place: (module, offset in its file, whether it is a return address).
    /// Innermost first; several where functions were inlined, at least one always. Module and
    /// offset are there for every module that is not forgotten.
    pub fn names(&mut self, modules: &Modules, places: &[(ModuleId, u64, bool)]) -> SoFar<Vec<Vec<Frame>>> {
        let end = Instant::now() + CALL_DEADLINE;
        let known = places.iter().map(of_tuple).map(|(module, place)| self.known_names(modules, module, place));
        let known: Vec<Option<Arc<[Name]>>> = known.collect();
        // Modules that cost a helper before come last.
        let mut missing = BTreeMap::<(u8, ModuleId), BTreeSet<Place>>::new();
        for ((module, place), _) in places.iter().map(of_tuple).zip(&known).filter(|(_, known)| known.is_none()) {
            missing.entry((self.strikes.of(module), module)).or_default().insert(place);
        }
        let mut found = Names::new();
        let mut is_pending = false;
        for ((_, module), places) in missing {
            let places = Vec::from_iter(places);
            let named = self.name_module(modules, module, &places, end, &mut found);
            is_pending |= named == Err(NotNow::Pending);
        }
        let frames = places.iter().map(of_tuple).zip(known).map(|((module, place), known)| {
            let names = known.as_ref().or_else(|| found.get(&(module, place))).map_or(&[][..], |names| names);
            frames(modules, module, place.offset, names)
        });
        SoFar { known: frames.collect(), is_pending }
    }

    /// How to find the caller of the code at an offset; of a return address, the offset of the
    /// call.
    pub fn caller(&mut self, modules: &Modules, module: ModuleId, offset: u64, is_leaf: bool) -> Answered<Caller> {
        let known = modules.get(module).ok_or(NotNow::NoAnswer)?;
        let known = known.contents().map(|contents| (contents.id, offset, is_leaf));
        if let Some(caller) = known.and_then(|place| self.callers.get(&place)) {
            return Ok(caller);
        }
        if self.is_out_of_reach(modules, module) {
            return Ok(Caller::Unknown);
        }
        let (load, first) = self.load(modules, module, self.patience)?;
        let deadline = if first { FIRST_DEADLINE } else { LEAF_DEADLINE };
        let request = Request::Caller { module: load.number(), offset, is_leaf };
        match self.ask(module, load, &request, deadline)? {
            Answer::Caller(rule) => {
                let caller = checked(rule);
                self.callers.insert((load.contents, offset, is_leaf), caller);
                Ok(caller)
            }
            other => Err(self.failed(Some(module), &nonsense(&other))),
        }
    }

    /// Where a module keeps CPython's runtime; None where it is no CPython.
    pub fn python(&mut self, modules: &Modules, module: ModuleId) -> Answered<Option<Runtime>> {
        modules.get(module).ok_or(NotNow::NoAnswer)?;
        if self.is_out_of_reach(modules, module) {
            return Ok(None);
        }
        let (load, _) = self.load(modules, module, self.patience)?;
        let request = Request::Python { module: load.number() };
        match self.ask(module, load, &request, FIRST_DEADLINE)? {
            Answer::Python(runtime) => Ok(runtime),
            other => Err(self.failed(Some(module), &nonsense(&other))),
        }
    }

    /// To be called now and then: ends a helper that had no work for 30 s.
    pub fn idle(&mut self, now: Instant) {
        self.copies.tidy();
        if now.saturating_duration_since(self.used_at) >= IDLE {
            self.helper = None;
        }
    }

    fn name_module(
        &mut self,
        modules: &Modules,
        module: ModuleId,
        places: &[Place],
        end: Instant,
        found: &mut Names,
    ) -> Answered<()> {
        for places in places.chunks(PLACES_MAX) {
            if Instant::now() >= end {
                return Err(NotNow::NoAnswer);
            }
            let (load, first) = self.load(modules, module, Some(FIRST_DEADLINE))?;
            let (debug, searched) = self.load_debug(modules, module, load)?;
            let deadline = if first || searched { FIRST_DEADLINE } else { NAMES_DEADLINE };
            let request = Request::Names { module: load.number(), by_debug: debug.is_some(), places: places.to_vec() };
            match self.ask(module, load, &request, deadline)? {
                Answer::Names(names) if names.len() == places.len() => {
                    for (place, names) in places.iter().zip(names) {
                        let names: Arc<[Name]> = names.into_iter().take(INLINED_MAX).map(clean).collect();
                        self.names.insert(((load, debug), *place), Arc::clone(&names));
                        found.insert((module, *place), names);
                    }
                }
                other => return Err(self.failed(Some(module), &nonsense(&other))),
            }
        }
        Ok(())
    }

    /// What was answered for such a place before: the more that was read for it, the better.
    fn known_names(&mut self, modules: &Modules, module: ModuleId, place: Place) -> Option<Arc<[Name]>> {
        let contents = modules.get(module)?.contents()?.id;
        let debug = match self.debug_files.of(module) {
            DebugFile::Unknown => return None,
            known => known.found(),
        };
        let source = (Load { contents, debug_info: true }, debug);
        let struck = (Load { contents, debug_info: false }, None);
        let names = self.names.get(&(source, place));
        names.or_else(|| if self.strikes.of(module) > 0 { self.names.get(&(struck, place)) } else { None })
    }
}

fn of_tuple(&(module, offset, is_return_address): &(ModuleId, u64, bool)) -> (ModuleId, Place) {
    let place = Place { offset, is_return_address };
    (module, place)
}

#[cfg(test)]
pub(in crate::attribution) mod tests;
