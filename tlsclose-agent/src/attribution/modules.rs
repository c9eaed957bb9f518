//! The files that processes execute, and which address belongs to which of them.
//!
//! A module is known by what its file is, not by its name: a program that was replaced under the
//! same path is another module, and one that two containers share is the same. Its file is kept
//! open from when it is first seen, because its process may be gone when names are wanted.

pub mod maps;
pub mod open;

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::process::{ProcessId, Procfs, printable};
use super::worker::Worker;
use maps::Backing;
use open::{FileVersion, Opened};

/// Modules remembered; beyond, those not seen for longest are forgotten.
pub const MODULES_MAX: usize = 1024;

/// Files kept open.
const FILES_MAX: usize = 256;

/// How long looking at a process's mappings, or opening one of its files, may take.
const DEADLINE: Duration = Duration::from_millis(500);

/// Number of a module. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleId(pub u32);

/// A file that processes execute, or the kernel's vDSO.
#[derive(Debug)]
pub struct Module {
    /// As its process sees it, printable, without ` (deleted)`; `[vdso]` for the vDSO.
    pub path: Arc<str>,
    file: Option<Arc<File>>,
    /// In bytes.
    pub size: u64,
    build_id: OnceLock<String>,
    /// When it was last seen, in calls of [`Modules::of_process`].
    seen: u64,
}

impl Module {
    /// None where it could not be opened, is too large, or was closed to make room.
    pub fn file(&self) -> Option<&Arc<File>> {
        self.file.as_ref()
    }

    /// Hexadecimal; None as long as nobody has read it.
    pub fn build_id(&self) -> Option<&str> {
        self.build_id.get().map(String::as_str)
    }

    pub(super) fn set_build_id(&self, build_id: String) {
        // The first answer stays: the file is the same.
        let _ = self.build_id.set(build_id);
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
    ids: HashMap<Key, ModuleId>,
    modules: HashMap<ModuleId, Module>,
    next: u32,
    looks: u64,
}

impl Modules {
    pub fn new(procfs: Procfs) -> Self {
        Self {
            procfs,
            worker: Worker::default(),
            ids: HashMap::new(),
            modules: HashMap::new(),
            next: 0,
            looks: 0,
        }
    }

    /// None when the module was forgotten.
    pub fn get(&self, id: ModuleId) -> Option<&Module> {
        self.modules.get(&id)
    }

    /// Calls that hung: (missed their deadline, not tried because too many hang).
    pub fn hung(&self) -> (u64, u64) {
        (self.worker.timeouts, self.worker.refused)
    }

    /// What the process executes now. None when it ended, is another one, or does not let itself
    /// be looked at in time.
    pub fn of_process(&mut self, id: ProcessId) -> Option<MappedModules> {
        let process = self.procfs.open(id)?;
        let look = move || open::mappings(&process);
        let opened = self.worker.run(DEADLINE, look)??;
        self.looks += 1;
        let ranges = opened.into_iter().filter_map(|o| self.range(o)).collect();
        self.forget();
        Some(MappedModules { ranges })
    }

    fn range(&mut self, opened: Opened) -> Option<Range> {
        let Opened { mapping, target } = opened;
        let (key, name) = match (mapping.backing, &target) {
            (Backing::Anonymous, _) => return None,
            (Backing::Vdso, _) => (Key::Vdso, "[vdso]".into()),
            (Backing::File(path), Some(target)) => {
                let name = printable(&path);
                (Key::File(target.version, path), name)
            }
            (Backing::File(path), None) => {
                let name = printable(&path);
                (Key::Unreachable(mapping.device, mapping.inode, path), name)
            }
        };
        let known = self.ids.get(&key).copied();
        let module = known.unwrap_or_else(|| self.add(key, name));
        let entry = self.modules.get_mut(&module)?;
        entry.seen = self.looks;
        if let (None, Some(target)) = (&entry.file, target) {
            entry.size = target.version.size;
            let file = self.worker.run(DEADLINE, move || target.open());
            entry.file = file.flatten().map(Arc::new);
        }
        Some(Range {
            start: mapping.start,
            end: mapping.end,
            offset: mapping.offset,
            module,
        })
    }

    fn add(&mut self, key: Key, path: String) -> ModuleId {
        let id = ModuleId(self.next);
        self.next += 1;
        self.ids.insert(key, id);
        let module = Module {
            path: path.into(),
            file: None,
            size: 0,
            build_id: OnceLock::new(),
            seen: self.looks,
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
        let mut by_age: Vec<(u64, ModuleId)> =
            self.modules.iter().map(|(id, m)| (m.seen, *id)).collect();
        by_age.sort_unstable();
        let open =
            |modules: &HashMap<_, Module>| modules.values().filter(|m| m.file.is_some()).count();
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

/// Where a process has mapped its modules, at one moment.
#[derive(Clone, Debug, Default)]
pub struct MappedModules {
    /// By ascending address.
    ranges: Vec<Range>,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    start: u64,
    end: u64,
    offset: u64,
    module: ModuleId,
}

impl MappedModules {
    /// The module that holds the code at `address`, and its offset in the module's file (bytes).
    pub fn find(&self, address: u64) -> Option<(ModuleId, u64)> {
        let behind = self.ranges.partition_point(|r| r.start <= address);
        let range = self.ranges.get(behind.checked_sub(1)?)?;
        let offset = range.offset.checked_add(address - range.start)?;
        (address < range.end).then_some((range.module, offset))
    }

    /// The modules, each once per mapping.
    pub fn ids(&self) -> impl Iterator<Item = ModuleId> + '_ {
        self.ranges.iter().map(|range| range.module)
    }

    /// The module whose path is `path`: with an [`Identity::exe`] the program itself.
    ///
    /// [`Identity::exe`]: super::process::Identity::exe
    pub fn with_path(&self, modules: &Modules, path: &str) -> Option<ModuleId> {
        self.ids()
            .find(|id| modules.get(*id).is_some_and(|m| &*m.path == path))
    }

    #[cfg(test)]
    pub(super) fn of_ranges(ranges: &[(u64, u64, u64, u32)]) -> Self {
        let range = |&(start, end, offset, module): &(u64, u64, u64, u32)| Range {
            start,
            end,
            offset,
            module: ModuleId(module),
        };
        Self {
            ranges: ranges.iter().map(range).collect(),
        }
    }
}

#[cfg(test)]
pub(in crate::attribution) mod tests;
