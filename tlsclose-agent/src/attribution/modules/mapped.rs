//! Which address of a process belongs to which module.

#[cfg(test)]
use super::Modules;
use super::module_id::{ModuleId, Range};

/// Where a process has mapped its modules, at one moment.
#[derive(Clone, Debug, Default)]
pub struct MappedModules {
    /// By ascending address.
    pub(super) ranges: Vec<Range>,
}

impl MappedModules {
    /// The module that holds the code at `address`, and its offset in the module's file (bytes).
    pub fn find(&self, address: u64) -> Option<(ModuleId, u64)> {
        let behind = self.ranges.partition_point(|r| r.start <= address);
        let range = self.ranges.get(behind.checked_sub(1)?)?;
        let offset = range.offset.checked_add(address - range.start)?;
        (address < range.end).then_some((range.module, offset))
    }

    /// The modules, each once, by ascending address, and where the beginnings of their files
    /// would be mapped.
    pub fn bases(&self) -> Vec<(ModuleId, u64)> {
        let mut bases: Vec<(ModuleId, u64)> = Vec::new();
        for range in &self.ranges {
            if !bases.iter().any(|(module, _)| *module == range.module) {
                bases.push((range.module, range.start.wrapping_sub(range.offset)));
            }
        }
        bases
    }

    /// The modules, each once per mapping.
    pub fn ids(&self) -> impl Iterator<Item = ModuleId> + '_ {
        self.ranges.iter().map(|range| range.module)
    }

    /// The module whose path is `path`: with an [`Identity::exe`] the program itself.
    ///
    /// [`Identity::exe`]: crate::attribution::process::procfs::Identity::exe
    #[cfg(test)]
    pub fn with_path(&self, modules: &Modules, path: &str) -> Option<ModuleId> {
        self.ids().find(|id| modules.get(*id).is_some_and(|m| &*m.path == path))
    }

    #[cfg(test)]
    pub(in crate::attribution) fn of_ranges(ranges: &[(u64, u64, u64, u32)]) -> Self {
        let range = |&(start, end, offset, module): &(u64, u64, u64, u32)| Range {
            start,
            end,
            offset,
            module: ModuleId(module),
        };
        Self { ranges: ranges.iter().map(range).collect() }
    }
}
