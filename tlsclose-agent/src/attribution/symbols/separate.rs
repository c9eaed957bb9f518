//! Separate debug files: which one each module has.
//!
//! Modules share what was read of their contents, but not their debug files: those lie in the root
//! of a process, and whoever owns that would else name the functions of everybody who runs the
//! same program. So a name is known by the contents and by the debug file that it came from.

use std::collections::HashMap;
use std::fs::File;
use std::time::Instant;

use rustc_hash::FxHashMap;

use super::client::{Copy, Load};
use super::{DEBUG_DEADLINE, FIRST_DEADLINE, Symbolizer, copy};
use crate::attribution::modules::contents::Digest;
use crate::attribution::modules::{MODULES_MAX, ModuleId, Modules};
use tlsclose_core::model::site_id::is_runtime_module;

/// Debug files whose numbers are remembered.
const NUMBERS_MAX: usize = 4096;

/// Which debug file, and how much is read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DebugId {
    /// Never used again for others.
    number: u32,
    /// Whether more than its symbol table is read.
    pub debug_info: bool,
}

#[derive(Debug, Default)]
pub struct DebugFiles {
    numbers: HashMap<Digest, u32>,
    next: u32,
    /// What was found for a module last; none is an answer too.
    of: FxHashMap<ModuleId, Option<DebugId>>,
}

impl DebugFiles {
    /// None: it was never looked for.
    pub fn of(&self, module: ModuleId) -> Option<Option<DebugId>> {
        self.of.get(&module).copied()
    }

    fn id(&mut self, digest: Digest, debug_info: bool) -> DebugId {
        if self.numbers.len() >= NUMBERS_MAX {
            self.numbers.clear();
        }
        let number = *self.numbers.entry(digest).or_insert_with(|| {
            self.next += 1;
            self.next
        });
        DebugId { number, debug_info }
    }

    fn found(&mut self, module: ModuleId, debug: Option<DebugId>, modules: &Modules) {
        if self.of.len() >= 2 * MODULES_MAX {
            self.of.retain(|module, _| modules.get(*module).is_some());
        }
        self.of.insert(module, debug);
    }
}

impl Symbolizer {
    /// Sees to it that what was loaded for a module has the module's debug file, if there is one.
    /// True when it was looked for just now; None when the helper failed.
    pub(super) fn load_debug(
        &mut self,
        modules: &Modules,
        module: ModuleId,
        load: Load,
    ) -> Option<(Option<DebugId>, bool)> {
        let helper = self.helper.as_mut()?;
        let before = self.debug_files.of(module);
        if !helper.wants_debug(load) {
            self.debug_files.found(module, before.flatten(), modules);
            return Some((None, false));
        }
        let is_new = helper.should_search(load, module);
        if let Some(before) = before.filter(|before| !is_new && (before.is_none() || *before == helper.debug(load))) {
            return Some((before, false));
        }
        let found = self.find_debug(modules, module, load)?;
        self.debug_files.found(module, found, modules);
        Some((found, true))
    }

    fn find_debug(&mut self, modules: &Modules, module: ModuleId, load: Load) -> Option<Option<DebugId>> {
        let Some(search) = modules.debug_search(module) else { return Some(None) };
        // Of libc the names do: its lines say nothing about the cause, and take long to read.
        let debug_info = !modules.get(module).is_some_and(|module| is_runtime_module(&module.path));
        let held = self.copies.bytes() + self.helper.as_ref()?.bytes();
        let mut room = self.budget.copies.saturating_sub(held);
        let copied = self.worker.run(DEBUG_DEADLINE, move || {
            let copy = |(file, size): (File, u64)| {
                room = room.checked_sub(size)?;
                let (data, digest) = copy::sealed_copy_and_digest(&file, size)?;
                Some((Copy { data, size }, digest))
            };
            search.find().into_iter().filter_map(copy).collect::<Vec<_>>()
        });
        for (copy, digest) in copied.unwrap_or_default() {
            let debug = self.debug_files.id(digest, debug_info);
            let helper = self.helper.as_mut()?;
            if helper.debug(load) == Some(debug) {
                return Some(Some(debug));
            }
            match helper.load_debug(load, debug, &copy, Instant::now() + FIRST_DEADLINE) {
                Ok(true) => return Some(Some(debug)),
                Ok(false) => {}
                Err(error) => {
                    self.failed(Some(module), &error);
                    return None;
                }
            }
        }
        Some(None)
    }
}
