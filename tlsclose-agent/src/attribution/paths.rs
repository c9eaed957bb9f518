//! Code paths: stacks as the kernel side sends them, turned into frames of files and interned.
//!
//! Workers of one program share paths, whatever their address spaces look like. What a place
//! that makes system calls needs for unwinding is learned here once per file and handed down.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tlsclose_common::facts::{LeafKey, LeafRule, StackHeader, leaf};

use super::{
    modules::{MappedModules, ModuleId, Modules},
    process::ProcessId,
    site::is_runtime_module,
    stacks::{Step, normalize, walk_copy},
    symbols::Symbolizer,
};
use crate::{finding::Frame, tracker::PathId};

/// Distinct code paths kept; a host has hundreds.
const MAX_PATHS: usize = 16_384;
/// Keys of stacks in one generation.
const MAX_KEYS: usize = 65_536;
/// Places whose unwind rule is remembered.
const MAX_RULES: usize = 65_536;
/// Address spaces remembered.
const MAX_IMAGES: usize = 512;
/// How often the mappings of one process are read again because an address was unknown.
const REREAD: Duration = Duration::from_secs(1);

/// Frame pointers are all there is to go by.
const NO_TABLES: LeafRule = LeafRule { status: leaf::NONE, copies: 0, return_address: 0, frame_pointer: 0 };

type Path = Arc<[(ModuleId, u64)]>;

struct Image {
    process: ProcessId,
    mapped: Arc<MappedModules>,
    read: Instant,
}

/// What could not be kept here.
#[derive(Clone, Copy, Debug, Default)]
pub struct PathsLost {
    /// The process was gone before its mappings were read.
    pub process_gone: u64,
    /// No frame belongs to a file.
    pub no_file: u64,
    /// [`MAX_PATHS`] was reached.
    pub full: u64,
}

#[derive(Default)]
pub struct Paths {
    /// Keys of stacks walked in the kernel, which sends each once.
    walked: Generations,
    /// Keys of copies, each used once.
    copied: Generations,
    ids: HashMap<Path, PathId>,
    /// Indexed by `PathId - 1`.
    paths: Vec<Path>,
    images: HashMap<u64, Image>,
    rules: HashMap<(ModuleId, u64), LeafRule>,
    pub lost: PathsLost,
}

impl Paths {
    /// The path under a key that the kernel side has given out.
    pub fn by_key(&self, key: u64) -> Option<PathId> {
        self.walked.get(key).or_else(|| self.copied.get(key))
    }

    /// Takes in a stack that was walked in the kernel. If that walk went through a function that
    /// keeps no frame pointer, it may have skipped callers or met garbage: then the stack is not
    /// kept, and the kernel side is told to send copies from this place.
    pub fn walked(
        &mut self,
        header: &StackHeader,
        frames: &[u64],
        modules: &mut Modules,
        symbols: &mut Symbolizer,
    ) -> Option<(LeafKey, LeafRule)> {
        let mapped = self.mapped(header, header.pc, modules)?;
        let (path, _) = normalize(frames, &mapped);
        let mut own_seen = false;
        for (depth, place) in path.iter().enumerate() {
            let kept = depth == 0 || self.keeps_frame_pointer(*place, modules, symbols);
            let is_runtime = is_runtime(place.0, modules);
            if !kept && is_runtime && own_seen {
                let id = self.intern(&path[..=depth])?;
                self.walked.insert(header.key, id);
                return None;
            }
            if !kept {
                let place = LeafKey { image: header.image, pc: header.pc };
                return Some((place, LeafRule { status: leaf::COPY, ..LeafRule::default() }));
            }
            own_seen |= !is_runtime;
        }
        let id = self.intern(&path)?;
        self.walked.insert(header.key, id);
        None
    }

    /// Takes in registers and the top of a stack; returns what the kernel side must know about
    /// the place: how to find its caller, or that copies are needed.
    pub fn copied(
        &mut self,
        header: &StackHeader,
        bytes: &[u8],
        modules: &mut Modules,
        symbols: &mut Symbolizer,
    ) -> Option<(LeafKey, LeafRule)> {
        let mapped = self.mapped(header, header.pc, modules)?;
        let mut leaf_rule = None;
        let (mut needs_copies, mut own_seen) = (false, false);
        let (frames, left_copy) = walk_copy(header, bytes, |depth, pc| {
            let Some((module, offset)) = mapped.find(pc - u64::from(depth > 0)) else {
                // A leaf outside of all files is JIT code: no tables anywhere. Elsewhere it is garbage.
                leaf_rule = leaf_rule.or((depth == 0).then_some(NO_TABLES));
                return if depth == 0 { Step::By(NO_TABLES) } else { Step::Stop };
            };
            let rule = self.rule((module, offset), modules, symbols);
            if depth == 0 {
                leaf_rule = rule;
            }
            let is_runtime = is_runtime(module, modules);
            let by_stack_pointer = rule.is_some_and(|rule| rule.status == leaf::FROM_STACK_POINTER);
            if depth > 0 && by_stack_pointer {
                if is_runtime && own_seen {
                    return Step::Stop;
                }
                needs_copies = true;
            }
            own_seen |= !is_runtime;
            rule.map_or(Step::Stop, Step::By)
        });
        let (path, _) = normalize(&frames, &mapped);
        // The kernel side will walk such a stack to its end, so that this one, cut short, would be
        // another path for the same cause.
        let is_whole = needs_copies || !left_copy;
        if is_whole && let Some(id) = self.intern(&path) {
            self.copied.insert(header.key, id);
        }
        let rule = if needs_copies { LeafRule { status: leaf::COPY, ..LeafRule::default() } } else { leaf_rule? };
        Some((LeafKey { image: header.image, pc: header.pc }, rule))
    }

    /// The address space of a process is gone, or another program's now.
    pub fn forget_process(&mut self, process: ProcessId) {
        self.images.retain(|_, image| image.process != process);
    }

    /// Keys of walked stacks that were forgotten since this was asked last: the kernel side must
    /// send them again.
    pub fn forgotten(&mut self) -> Vec<u64> {
        self.copied.dropped.clear();
        std::mem::take(&mut self.walked.dropped)
    }

    /// Names the frames of a path, inlined functions expanded, innermost first.
    pub fn frames(&self, path: PathId, modules: &Modules, symbols: &mut Symbolizer) -> Vec<Frame> {
        let Some(path) = (path.0 as usize).checked_sub(1).and_then(|index| self.paths.get(index)) else {
            return Vec::new();
        };
        let addresses: Vec<_> =
            path.iter().enumerate().map(|(depth, &(module, offset))| (module, offset, depth > 0)).collect();
        symbols.names(modules, &addresses).into_iter().flatten().collect()
    }

    /// The frame's function keeps a frame pointer, so that a walk along them was right to go on
    /// above it. Code without tables (Go, JIT compilers) does.
    fn keeps_frame_pointer(&mut self, place: (ModuleId, u64), modules: &Modules, symbols: &mut Symbolizer) -> bool {
        let call = (place.0, place.1.saturating_sub(1));
        let rule = self.rule(call, modules, symbols);
        rule.is_some_and(|rule| rule.status != leaf::FROM_STACK_POINTER)
    }

    /// How to get from a place to its caller; None when that cannot be said now.
    fn rule(&mut self, place: (ModuleId, u64), modules: &Modules, symbols: &mut Symbolizer) -> Option<LeafRule> {
        if let Some(rule) = self.rules.get(&place) {
            return Some(*rule);
        }
        let rule = symbols.leaf_rule(modules, place.0, place.1)?;
        if self.rules.len() < MAX_RULES {
            self.rules.insert(place, rule);
        }
        Some(rule)
    }

    fn intern(&mut self, path: &[(ModuleId, u64)]) -> Option<PathId> {
        if path.is_empty() {
            self.lost.no_file += 1;
            return None;
        }
        let id = match self.ids.get(path) {
            Some(id) => *id,
            None if self.paths.len() >= MAX_PATHS => {
                self.lost.full += 1;
                return None;
            }
            None => {
                let path: Path = path.into();
                self.paths.push(path.clone());
                let id = PathId(self.paths.len() as u32);
                self.ids.insert(path, id);
                id
            }
        };
        Some(id)
    }

    /// The mappings of the program that the stack is from, read again when `address` is new to them.
    fn mapped(&mut self, header: &StackHeader, address: u64, modules: &mut Modules) -> Option<Arc<MappedModules>> {
        let known = self.images.get(&header.image);
        let current = known.is_some_and(|image| image.mapped.find(address).is_some() || image.read.elapsed() < REREAD);
        if !current {
            let process = ProcessId { tgid: header.tgid, started_at: header.started_at };
            match modules.of_process(process) {
                Some(mapped) => self.remember(header.image, process, mapped),
                None if known.is_none() => {
                    self.lost.process_gone += 1;
                    return None;
                }
                None => {}
            }
        }
        self.images.get(&header.image).map(|image| Arc::clone(&image.mapped))
    }

    fn remember(&mut self, image: u64, process: ProcessId, mapped: MappedModules) {
        let oldest = || self.images.iter().min_by_key(|(_, image)| image.read).map(|(key, _)| *key);
        if self.images.len() >= MAX_IMAGES
            && let Some(oldest) = oldest()
        {
            self.images.remove(&oldest);
        }
        self.images.insert(image, Image { process, mapped: Arc::new(mapped), read: Instant::now() });
    }
}

/// Keys in two generations: when one is full, the older goes.
#[derive(Default)]
struct Generations {
    young: HashMap<u64, PathId>,
    old: HashMap<u64, PathId>,
    dropped: Vec<u64>,
}

impl Generations {
    fn get(&self, key: u64) -> Option<PathId> {
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    fn insert(&mut self, key: u64, id: PathId) {
        if self.young.len() >= MAX_KEYS {
            let old = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            self.dropped.extend(old.into_keys());
        }
        self.young.insert(key, id);
    }
}

fn is_runtime(module: ModuleId, modules: &Modules) -> bool {
    modules.get(module).is_some_and(|module| is_runtime_module(&module.path))
}
