//! Separate debug files: which one each module has.
//!
//! Modules share what was read of their contents, but not their debug files: those lie in the root
//! of a process, and whoever owns that would else name the functions of everybody who runs the
//! same program. So a name is known by the contents and by the debug file that it came from.

use std::fs::File;
use std::time::Instant;

use super::deadlines::{DEBUG_DEADLINE, FIRST_DEADLINE};
use super::loads::{Copy, DebugFile, DebugId, Load};
use super::{Answered, NotNow, Symbolizer, copy};
use crate::attribution::modules::{ModuleId, Modules};
use tlsclose_core::model::site_id::is_runtime_module;

impl Symbolizer {
    /// Sees to it that what was loaded for a module has the module's debug file, if there is one.
    /// True when it was looked for just now.
    pub(super) fn load_debug(
        &mut self,
        modules: &Modules,
        module: ModuleId,
        load: Load,
    ) -> Answered<(Option<DebugId>, bool)> {
        let helper = self.helper.as_mut().ok_or(NotNow::NoAnswer)?;
        let before = self.debug_files.of(module);
        if !helper.wants_debug(load) {
            let known = if before == DebugFile::Unknown { DebugFile::Absent } else { before };
            self.debug_files.remember(module, known, modules);
            return Ok((None, false));
        }
        let is_new = helper.should_search(load, module);
        let is_in_place = match before {
            DebugFile::Unknown => false,
            DebugFile::Absent => true,
            DebugFile::Found(debug) => helper.debug(load) == Some(debug),
        };
        if !is_new && is_in_place {
            return Ok((before.found(), false));
        }
        match self.find_debug(modules, module, load) {
            DebugFile::Unknown => Err(NotNow::NoAnswer),
            file => {
                self.debug_files.remember(module, file, modules);
                Ok((file.found(), true))
            }
        }
    }

    fn find_debug(&mut self, modules: &Modules, module: ModuleId, load: Load) -> DebugFile {
        let Some(helper) = &self.helper else { return DebugFile::Unknown };
        let Some(search) = modules.debug_search(module) else { return DebugFile::Absent };
        // Of libc the names do: its lines say nothing about the cause, and take long to read.
        let debug_info = !modules.get(module).is_some_and(|module| is_runtime_module(&module.path));
        let held = self.copies.bytes() + helper.bytes();
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
            let Some(helper) = &mut self.helper else { return DebugFile::Unknown };
            if helper.debug(load) == Some(debug) {
                return DebugFile::Found(debug);
            }
            match helper.load_debug(load, debug, &copy, Instant::now() + FIRST_DEADLINE) {
                Ok(true) => return DebugFile::Found(debug),
                Ok(false) => {}
                Err(error) => {
                    self.failed(Some(module), &error);
                    return DebugFile::Unknown;
                }
            }
        }
        DebugFile::Absent
    }
}
