//! The files that processes execute, and which address belongs to which of them.
//!
//! A module is known by what its file is, not by its name: a program that was replaced under the
//! same path is another module, and one that two containers share is the same. Its file is kept
//! open from when it is first seen, because its process may be gone when names are wanted. Copies
//! of a file are modules of their own, and share their contents.

pub mod contents;
pub mod debug;
mod mapped;
pub mod maps;
mod module_id;
pub mod open;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::detached_worker::Worker;
use super::process::procfs::Procfs;
use contents::Contents;
use debug::{DebugSearch, Root};
pub use mapped::MappedModules;
use maps::{Backing, Mapping};
use module_id::Range;
pub use module_id::{CodePlace, MODULES_MAX, ModuleId};
use open::{FileVersion, FoundMapping};
use tlsclose_core::model::{ProcessId, printable};

/// Files kept open.
const FILES_MAX: usize = 256;

/// Files opened for one look at a process.
const OPENS_MAX: usize = 128;

/// How long looking at a process's mappings, or opening one of its files, may take.
const DEADLINE: Duration = Duration::from_millis(500);

/// How long opening all files of a process may take.
const OPENS_DEADLINE: Duration = Duration::from_secs(1);

/// Processes remembered for having hung.
const HUNG_MAX: usize = 1024;

/// A file that processes execute, or the kernel's vDSO.
#[derive(Debug)]
pub struct Module {
    /// As its process sees it, printable, without ` (deleted)`; `[vdso]` for the vDSO.
    pub path: Arc<str>,
    file: Option<Arc<File>>,
    /// Opening it hung once; it is not tried again.
    hung: bool,
    /// In bytes.
    pub size: u64,
    /// None as long as nobody has read it.
    contents: OnceLock<Arc<Contents>>,
    /// When it was last seen, in calls of [`Modules::of_process`], and in which process.
    seen: u64,
    seen_in: Option<ProcessId>,
}

impl Module {
    /// None where it could not be opened, is too large, or was closed to make room.
    pub fn file(&self) -> Option<&Arc<File>> {
        self.file.as_ref()
    }

    /// Hexadecimal; None as long as nobody has read it.
    pub fn build_id(&self) -> Option<&Arc<str>> {
        self.contents()?.build_id()
    }

    /// None as long as nobody has read it.
    pub fn contents(&self) -> Option<&Arc<Contents>> {
        self.contents.get()
    }

    pub(super) fn set_contents(&self, contents: Arc<Contents>) {
        // The first answer stays: the file is the same.
        let _ = self.contents.set(contents);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    File(FileVersion, Vec<u8>),
    /// Not to be reached: known by what its mapping says.
    Unreachable((u32, u32), u64, Vec<u8>),
    Vdso,
}

/// All modules seen lately.
#[derive(Debug)]
pub struct Modules {
    procfs: Procfs,
    worker: Worker,
    /// Looking at these hung; it is not tried again.
    hung: HashSet<ProcessId>,
    ids: HashMap<Key, ModuleId>,
    modules: FxHashMap<ModuleId, Module>,
    next: u32,
    looks: u64,
}

impl Modules {
    pub fn new(procfs: Procfs) -> Self {
        Self {
            procfs,
            worker: Worker::default(),
            hung: HashSet::new(),
            ids: HashMap::new(),
            modules: FxHashMap::default(),
            next: 0,
            looks: 0,
        }
    }

    pub fn procfs(&self) -> &Procfs {
        &self.procfs
    }

    /// None when the module was forgotten.
    pub fn get(&self, id: ModuleId) -> Option<&Module> {
        self.modules.get(&id)
    }

    /// The file of a module, or one that held the same when it was read.
    pub fn file_of(&self, id: ModuleId) -> Option<&Arc<File>> {
        let module = self.modules.get(&id)?;
        let is_twin =
            |other: &&Module| matches!((&other.contents(), module.contents()), (Some(a), Some(b)) if a.id == b.id);
        module.file().or_else(|| self.modules.values().filter(is_twin).find_map(Module::file))
    }

    /// Where a separate debug file of the module may be, by its build id and by the link in it:
    /// in the root of the host, and in that of a process that was seen with it, if that lives.
    pub fn debug_search(&self, id: ModuleId) -> Option<DebugSearch> {
        let module = self.modules.get(&id)?;
        let contents = module.contents()?;
        let paths = debug::paths(&module.path, contents.build_id().map(|id| &**id), contents.debug_link());
        if paths.is_empty() {
            return None;
        }
        let owner = module.file()?.metadata().ok()?.uid();
        let host = self.procfs.host_root().map(|directory| Root { directory, owner: None });
        let theirs = module.seen_in.and_then(|id| self.procfs.root_of(id));
        let theirs = theirs.map(|directory| Root { directory, owner: Some(owner) });
        Some(DebugSearch { roots: host.into_iter().chain(theirs).collect(), paths })
    }

    /// Arguments and environment of a process.
    pub fn started_with(&mut self, process: ProcessId) -> Option<(Vec<u8>, Vec<u8>)> {
        self.procfs.started_with(process, &mut self.worker)
    }

    /// Calls that hung: (missed their deadline, not tried because too many hang).
    pub fn timeouts(&self) -> (u64, u64) {
        (self.worker.timeouts, self.worker.refused)
    }

    /// What the process executes now. None when it ended, is another one, or does not let itself
    /// be looked at in time.
    pub fn of_process(&mut self, id: ProcessId) -> Option<MappedModules> {
        if self.hung.contains(&id) {
            return None;
        }
        let process = Arc::new(self.procfs.living(id)?.1);
        let theirs = Arc::clone(&process);
        let timeouts = self.worker.timeouts;
        let found = self.worker.run(DEADLINE, move || open::mappings(&theirs));
        if self.worker.timeouts > timeouts {
            if self.hung.len() >= HUNG_MAX {
                self.hung.clear();
            }
            self.hung.insert(id);
        }
        let found = found??;
        self.looks += 1;
        let mut opening = Opening { id, process, left: OPENS_MAX, end: Instant::now() + OPENS_DEADLINE };
        let ranges = found.into_iter();
        let ranges = ranges.filter_map(|f| self.range(f, &mut opening)).collect();
        self.forget();
        Some(MappedModules { ranges })
    }

    fn range(&mut self, found: FoundMapping, opening: &mut Opening) -> Option<Range> {
        let FoundMapping { mapping, version } = found;
        let (key, name) = match (&mapping.backing, version) {
            // The vsyscall page is the kernel's.
            (Backing::Anonymous, _) if mapping.start >> 63 == 1 => return None,
            (Backing::Anonymous, _) => {
                let Mapping { start, end, .. } = mapping;
                return Some(Range { start, end, offset: start, module: ModuleId::JIT });
            }
            (Backing::Vdso, _) => (Key::Vdso, "[vdso]".into()),
            (Backing::File(path), Some(version)) => (Key::File(version, path.clone()), printable(path)),
            (Backing::File(path), None) => {
                let key = Key::Unreachable(mapping.device, mapping.inode, path.clone());
                (key, printable(path))
            }
        };
        let known = self.ids.get(&key).copied();
        let module = known.unwrap_or_else(|| self.add(key, name));
        let range = Range { start: mapping.start, end: mapping.end, offset: mapping.offset, module };
        let known = self.modules.get_mut(&module)?;
        (known.seen, known.seen_in) = (self.looks, Some(opening.id));
        if let Some(version) = version {
            self.open(module, mapping, version, opening);
        }
        Some(range)
    }

    fn open(&mut self, module: ModuleId, mapping: Mapping, version: FileVersion, opening: &mut Opening) {
        let Some(module) = self.modules.get_mut(&module) else {
            return;
        };
        let tried = module.file.is_some() || module.hung;
        if tried || opening.left == 0 || Instant::now() >= opening.end {
            return;
        }
        opening.left -= 1;
        let process = Arc::clone(&opening.process);
        let timeouts = self.worker.timeouts;
        let call = move || open::open(&process, &mapping, version);
        let file = self.worker.run(DEADLINE, call).flatten();
        module.hung = self.worker.timeouts > timeouts;
        module.size = version.size;
        module.file = file.map(Arc::new);
    }

    fn add(&mut self, key: Key, path: String) -> ModuleId {
        let id = ModuleId(self.next);
        self.next += 1;
        self.ids.insert(key, id);
        let module = Module {
            path: path.into(),
            file: None,
            hung: false,
            size: 0,
            contents: OnceLock::new(),
            seen: self.looks,
            seen_in: None,
        };
        self.modules.insert(id, module);
        id
    }

    #[cfg(test)]
    pub(super) fn insert_file(&mut self, path: &str, file: File) -> ModuleId {
        let key = Key::Unreachable((0, 0), u64::from(self.next), path.into());
        let id = self.add(key, path.into());
        if let (Some(module), Ok(metadata)) = (self.modules.get_mut(&id), file.metadata()) {
            module.size = metadata.len();
            module.file = Some(Arc::new(file));
        }
        id
    }

    /// Keeps to the bounds: first closes files, then forgets modules.
    fn forget(&mut self) {
        let mut by_age: Vec<(u64, ModuleId)> = self.modules.iter().map(|(id, m)| (m.seen, *id)).collect();
        by_age.sort_unstable();
        let open = |modules: &FxHashMap<_, Module>| modules.values().filter(|m| m.file.is_some()).count();
        let mut surplus = open(&self.modules).saturating_sub(FILES_MAX);
        for (_, id) in &by_age {
            let module = self.modules.get_mut(id).filter(|m| m.file.is_some());
            match module {
                Some(module) if surplus > 0 => {
                    module.file = None;
                    surplus -= 1;
                }
                _ => {}
            }
        }
        let surplus = self.modules.len().saturating_sub(MODULES_MAX);
        for (_, id) in by_age.into_iter().take(surplus) {
            self.modules.remove(&id);
        }
        if surplus > 0 {
            let modules = &self.modules;
            self.ids.retain(|_, id| modules.contains_key(id));
        }
    }
}

/// The opening of one process's files.
struct Opening {
    id: ProcessId,
    process: Arc<OwnedFd>,
    /// Files that may still be opened.
    left: usize,
    end: Instant,
}

#[cfg(test)]
pub(in crate::attribution) mod tests;
