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
    stacks::{normalize, walk_copy},
    symbols::Symbolizer,
};
use crate::{finding::Frame, tracker::PathId};

/// Distinct code paths kept; a host has hundreds.
const MAX_PATHS: usize = 16_384;
/// Keys of stacks that refer to them.
const MAX_KEYS: usize = 65_536;
/// Address spaces remembered.
const MAX_IMAGES: usize = 512;
/// How often the mappings of one process are read again because an address was unknown.
const REREAD: Duration = Duration::from_secs(1);

type Path = Arc<[(ModuleId, u64)]>;

struct Image {
    process: ProcessId,
    mapped: MappedModules,
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
    by_key: HashMap<u64, PathId>,
    ids: HashMap<Path, PathId>,
    /// Indexed by `PathId - 1`.
    paths: Vec<Path>,
    images: HashMap<u64, Image>,
    leaves: HashMap<(ModuleId, u64), LeafRule>,
    pub lost: PathsLost,
}

impl Paths {
    /// The path under a key that the kernel side has given out.
    pub fn by_key(&self, key: u64) -> Option<PathId> {
        self.by_key.get(&key).copied()
    }

    /// Takes in a stack that was walked in the kernel.
    pub fn walked(&mut self, header: &StackHeader, frames: &[u64], modules: &mut Modules) {
        self.keep(header, frames, modules);
    }

    /// Takes in registers and the top of a stack; returns what the kernel side must know to walk
    /// such stacks itself.
    pub fn copied(
        &mut self,
        header: &StackHeader,
        bytes: &[u8],
        modules: &mut Modules,
        symbols: &mut Symbolizer,
    ) -> Option<(LeafKey, LeafRule)> {
        let place = self.image(header, header.pc, modules)?.mapped.find(header.pc);
        let rule = match place {
            Some(place) => self.leaf_rule(place, modules, symbols)?,
            // JIT code and the like: no unwind tables anywhere.
            None => LeafRule { status: leaf::NONE, ..LeafRule::default() },
        };
        let frames = walk_copy(header, bytes, rule);
        self.keep(header, &frames, modules);
        Some((LeafKey { image: header.image, pc: header.pc }, rule))
    }

    /// The address space of a process is gone, or another program's now.
    pub fn forget_process(&mut self, process: ProcessId) {
        self.images.retain(|_, image| image.process != process);
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

    /// Keys to be sent again, once there are too many to remember.
    pub fn overflow(&mut self) -> Vec<u64> {
        if self.by_key.len() <= MAX_KEYS {
            return Vec::new();
        }
        std::mem::take(&mut self.by_key).into_keys().collect()
    }

    fn leaf_rule(&mut self, place: (ModuleId, u64), modules: &Modules, symbols: &mut Symbolizer) -> Option<LeafRule> {
        if let Some(rule) = self.leaves.get(&place) {
            return Some(*rule);
        }
        let rule = symbols.leaf_rule(modules, place.0, place.1)?;
        if self.leaves.len() < MAX_KEYS {
            self.leaves.insert(place, rule);
        }
        Some(rule)
    }

    fn keep(&mut self, header: &StackHeader, frames: &[u64], modules: &mut Modules) {
        let Some(innermost) = frames.first() else { return };
        let Some(image) = self.image(header, *innermost, modules) else { return };
        let (path, _cut) = normalize(frames, &image.mapped);
        if path.is_empty() {
            self.lost.no_file += 1;
            return;
        }
        let path: Path = path.into();
        let id = match self.ids.get(&path) {
            Some(id) => *id,
            None if self.paths.len() >= MAX_PATHS => {
                self.lost.full += 1;
                return;
            }
            None => {
                self.paths.push(path.clone());
                let id = PathId(self.paths.len() as u32);
                self.ids.insert(path, id);
                id
            }
        };
        self.by_key.insert(header.key, id);
    }

    /// The mappings of the program that the stack is from, read again when `address` is new to them.
    fn image(&mut self, header: &StackHeader, address: u64, modules: &mut Modules) -> Option<&Image> {
        let known = self.images.get(&header.image);
        let current = known.is_some_and(|image| image.mapped.find(address).is_some() || image.read.elapsed() < REREAD);
        if !current {
            let process = ProcessId { tgid: header.tgid, started_at: header.started_at };
            match modules.of_process(process) {
                Some(mapped) => {
                    if self.images.len() >= MAX_IMAGES
                        && let Some(oldest) =
                            self.images.iter().min_by_key(|(_, image)| image.read).map(|(key, _)| *key)
                    {
                        self.images.remove(&oldest);
                    }
                    self.images.insert(header.image, Image { process, mapped, read: Instant::now() });
                }
                None if known.is_none() => {
                    self.lost.process_gone += 1;
                    return None;
                }
                None => {}
            }
        }
        self.images.get(&header.image)
    }
}
