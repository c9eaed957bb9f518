//! Which separate debug file each module has, as far as that was looked for.

use std::collections::HashMap;

use rustc_hash::FxHashMap;

use super::loads::{DebugFile, DebugId};
use crate::attribution::modules::contents::Digest;
use crate::attribution::modules::{MODULES_MAX, ModuleId, Modules};

/// Debug files whose numbers are remembered.
const NUMBERS_MAX: usize = 4096;

#[derive(Debug, Default)]
pub struct DebugFiles {
    numbers: HashMap<Digest, u32>,
    next: u32,
    /// What was found for a module last.
    of: FxHashMap<ModuleId, DebugFile>,
}

impl DebugFiles {
    pub fn of(&self, module: ModuleId) -> DebugFile {
        self.of.get(&module).copied().unwrap_or(DebugFile::Unknown)
    }

    pub fn id(&mut self, digest: Digest, debug_info: bool) -> DebugId {
        if self.numbers.len() >= NUMBERS_MAX {
            self.numbers.clear();
        }
        let number = *self.numbers.entry(digest).or_insert_with(|| {
            self.next += 1;
            self.next
        });
        DebugId { number, debug_info }
    }

    pub fn remember(&mut self, module: ModuleId, debug: DebugFile, modules: &Modules) {
        if self.of.len() >= 2 * MODULES_MAX {
            self.of.retain(|module, _| modules.get(*module).is_some());
        }
        self.of.insert(module, debug);
    }
}
