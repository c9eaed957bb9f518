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

mod cache;
mod client;
mod copies;
mod copy;
mod debug_files;
mod frames;
mod helper_backoff;
mod jit;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tlsclose_symbols::protocol::{Answer, INLINED_MAX, Name, PLACES_MAX, Place, Request};
use tlsclose_symbols::rule::Caller;
use tlsclose_symbols::runtime::Runtime;

use super::modules::contents::{ContentsId, KnownContents};
use super::modules::{ModuleId, Modules};
use super::worker::Worker;
use crate::finding::Frame;
use crate::host::memory::Budget;
use cache::Cache;
use client::{Copy, Helper, Launch, Load, nonsense};
use copies::{Copies, Made, patience};
use debug_files::{DebugFiles, DebugId};
use frames::{checked, clean, frames, is_build_id};
use helper_backoff::{Starts, Strikes};
pub use jit::JitName;

/// For names, in a module that was asked about before.
const NAMES_DEADLINE: Duration = Duration::from_secs(2);

/// For the first look at a module: its copy where it is to be named, its parsing, and the first names in it, each.
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
    /// A file was needed that is still being copied.
    waits: bool,
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
            waits: false,
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
    pub fn names(&mut self, modules: &Modules, places: &[(ModuleId, u64, bool)]) -> Vec<Vec<Frame>> {
        let end = Instant::now() + CALL_DEADLINE;
        let known = places.iter().map(of_tuple).map(|(module, place)| self.known_names(modules, module, place));
        let known: Vec<Option<Arc<[Name]>>> = known.collect();
        // Modules that cost a helper before come last.
        let mut missing = BTreeMap::<(u8, ModuleId), BTreeSet<Place>>::new();
        for ((module, place), _) in places.iter().map(of_tuple).zip(&known).filter(|(_, known)| known.is_none()) {
            missing.entry((self.strikes.of(module), module)).or_default().insert(place);
        }
        let mut found = Names::new();
        for ((_, module), places) in missing {
            let places = Vec::from_iter(places);
            self.name_module(modules, module, &places, end, &mut found);
        }
        let frames = places.iter().map(of_tuple).zip(known).map(|((module, place), known)| {
            let names = known.as_ref().or_else(|| found.get(&(module, place))).map_or(&[][..], |names| names);
            frames(modules, module, place.offset, names)
        });
        frames.collect()
    }

    /// How to find the caller of the code at an offset; of a return address, the offset of the
    /// call. None when that cannot be said now.
    pub fn caller(&mut self, modules: &Modules, module: ModuleId, offset: u64, is_leaf: bool) -> Option<Caller> {
        let known = modules.get(module)?.contents().map(|contents| (contents.id, offset, is_leaf));
        if let Some(caller) = known.and_then(|place| self.callers.get(&place)) {
            return Some(caller);
        }
        if self.is_out_of_reach(modules, module) {
            return Some(Caller::Unknown);
        }
        let (load, first) = self.load(modules, module, self.patience)?;
        let deadline = if first { FIRST_DEADLINE } else { LEAF_DEADLINE };
        let request = Request::Caller { module: load.number(), offset, is_leaf };
        match self.ask(module, load, &request, deadline)? {
            Answer::Caller(rule) => {
                let caller = checked(rule);
                self.callers.insert((load.contents, offset, is_leaf), caller);
                Some(caller)
            }
            other => {
                self.failed(Some(module), &nonsense(&other));
                None
            }
        }
    }

    /// Where a module keeps CPython's runtime. None when that cannot be said now, Some(None) when
    /// it is no CPython.
    pub fn python(&mut self, modules: &Modules, module: ModuleId) -> Option<Option<Runtime>> {
        modules.get(module)?;
        if self.is_out_of_reach(modules, module) {
            return Some(None);
        }
        let (load, _) = self.load(modules, module, self.patience)?;
        let request = Request::Python { module: load.number() };
        match self.ask(module, load, &request, FIRST_DEADLINE)? {
            Answer::Python(runtime) => Some(runtime),
            other => {
                self.failed(Some(module), &nonsense(&other));
                None
            }
        }
    }

    /// Whether something could not be said, since [`Self::waited`] was asked last, because a file is still being
    /// copied: it can be said soon.
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// The same, for the last time.
    pub fn waited(&mut self) -> bool {
        std::mem::take(&mut self.waits)
    }

    /// To be called now and then: ends a helper that had no work for 30 s.
    pub fn idle(&mut self, now: Instant) {
        self.copies.tidy();
        if now.saturating_duration_since(self.used_at) >= IDLE {
            self.helper = None;
        }
    }

    fn name_module(&mut self, modules: &Modules, module: ModuleId, places: &[Place], end: Instant, found: &mut Names) {
        for places in places.chunks(PLACES_MAX) {
            if Instant::now() >= end {
                return;
            }
            let Some((load, first)) = self.load(modules, module, Some(FIRST_DEADLINE)) else {
                return;
            };
            let Some((debug, searched)) = self.load_debug(modules, module, load) else {
                return;
            };
            let deadline = if first || searched { FIRST_DEADLINE } else { NAMES_DEADLINE };
            let request = Request::Names { module: load.number(), by_debug: debug.is_some(), places: places.to_vec() };
            match self.ask(module, load, &request, deadline) {
                Some(Answer::Names(names)) if names.len() == places.len() => {
                    for (place, names) in places.iter().zip(names) {
                        let names = names.into_iter().take(INLINED_MAX).map(clean);
                        let names = Arc::<[Name]>::from_iter(names);
                        self.names.insert(((load, debug), *place), Arc::clone(&names));
                        found.insert((module, *place), names);
                    }
                }
                Some(other) => return self.failed(Some(module), &nonsense(&other)),
                None => return,
            }
        }
    }

    /// What was answered for such a place before: the more that was read for it, the better.
    fn known_names(&mut self, modules: &Modules, module: ModuleId, place: Place) -> Option<Arc<[Name]>> {
        let contents = modules.get(module)?.contents()?.id;
        let debug = self.debug_files.of(module)?;
        let source = (Load { contents, debug_info: true }, debug);
        let struck = (Load { contents, debug_info: false }, None);
        let names = self.names.get(&(source, place));
        names.or_else(|| if self.strikes.of(module) > 0 { self.names.get(&(struck, place)) } else { None })
    }

    /// There is no file, it is too large for the memory that there is, or it is not to be handed to a helper again.
    fn is_out_of_reach(&self, modules: &Modules, module: ModuleId) -> bool {
        let is_too_large = modules.get(module).is_some_and(|known| known.size > self.budget.copies);
        is_too_large || modules.file_of(module).is_none() || self.strikes.is_out(module)
    }

    /// Sees to it that a helper has what the module holds. True when it got it just now. A copy that takes longer than
    /// `longest`, or than its size lets expect, goes on.
    fn load(&mut self, modules: &Modules, module: ModuleId, longest: Option<Duration>) -> Option<(Load, bool)> {
        if self.strikes.is_out(module) {
            return None;
        }
        // It may have ended meanwhile, which is nobody's fault.
        self.helper.take_if(|helper| !helper.is_alive());
        let known = modules.get(module)?;
        let debug_info = self.strikes.of(module) == 0;
        let is_loaded = |this: &Self, load| this.helper.as_ref().is_some_and(|helper| helper.has_loaded(load));
        let load = known.contents().map(|contents| Load { contents: contents.id, debug_info });
        if let Some(load) = load.filter(|load| is_loaded(self, *load)) {
            return Some((load, false));
        }
        let (file, size) = (Arc::clone(modules.file_of(module)?), known.size);
        if size > self.budget.copies {
            return None;
        }
        self.renew();
        self.start()?;
        // What is not any more what it was says nothing of what is executed.
        let is_changed = |digest| known.contents().is_some_and(|contents| contents.digest != digest);
        let (data, digest) = match self.copy(module, file, size, longest.unwrap_or(patience(size)))? {
            Made::Copy(data, digest) if !is_changed(digest) => (data, digest),
            Made::Copy(..) | Made::Never => {
                self.strikes.add(module);
                return None;
            }
            Made::Later => {
                self.waits = true;
                return None;
            }
            Made::NotNow => return None,
        };
        let contents = self.contents.of(digest);
        known.set_contents(Arc::clone(&contents));
        let load = Load { contents: contents.id, debug_info };
        // Another module's.
        if is_loaded(self, load) {
            return Some((load, false));
        }
        let copy = Copy { data, size };
        self.used_at = Instant::now();
        let deadline = self.used_at + FIRST_DEADLINE;
        match self.helper.as_mut()?.load(load, &copy, deadline) {
            Ok(Answer::Loaded { build_id, debug_link, .. }) => {
                contents.set(build_id.filter(|id| is_build_id(id)), debug_link);
                Some((load, true))
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

    /// Copies a file, for which there is room then.
    fn copy(&mut self, module: ModuleId, file: Arc<File>, size: u64, patience: Duration) -> Option<Made> {
        if self.copies.is_on_its_way(module) {
            return Some(self.copies.take(module, patience));
        }
        let most = self.budget.copies.saturating_sub(self.copies.bytes());
        if size > most {
            return Some(Made::Later);
        }
        if let Err(error) = self.helper.as_mut()?.make_room(size, most) {
            self.failed(None, &error);
            return None;
        }
        let copying = move || copy::sealed_copy_and_digest(&file, size);
        Some(self.copies.begin(module, size, patience, &mut self.worker, copying))
    }

    /// Replaces a helper that what it has read so far nearly fills: the next file would cost it, and pay for all.
    fn renew(&mut self) {
        let full = self.budget.heap / 4 * 3;
        if self.starts.would_allow(Instant::now()) {
            self.helper.take_if(|helper| helper.heap() > full);
        }
    }

    fn start(&mut self) -> Option<()> {
        if self.helper.is_some() {
            return Some(());
        }
        self.budget = Budget::now();
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

    fn ask(&mut self, module: ModuleId, load: Load, request: &Request, deadline: Duration) -> Option<Answer> {
        let deadline = Instant::now() + deadline;
        let helper = self.helper.as_mut()?;
        let answer = helper.ask_about(load, request, deadline);
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
