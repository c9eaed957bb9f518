//! Connections that ended by a reset or an error, as the kernel side counts them.

use aya::maps::{HashMap, MapData, PerCpuHashMap};
use tlsclose_common::facts::{AbortKey, AbortStackKey, Aborts as Counted, Comm};

use super::{attach::Programs, counted, load_error::LoadError, pod::Fact};

/// Those of one process and cause, since the programs were loaded.
#[derive(Clone, Copy, Debug)]
pub struct AbortCount {
    pub key: AbortKey,
    pub count: u64,
    /// Name of the process when it first closed so; empty for nobody.
    pub comm: Comm,
}

pub struct Aborts {
    counts: PerCpuHashMap<MapData, Fact<AbortKey>, Fact<Counted>>,
    stacks: HashMap<MapData, Fact<AbortStackKey>, u64>,
}

impl Aborts {
    pub(super) fn of(programs: &mut Programs) -> Result<Self, LoadError> {
        Ok(Self { counts: programs.map("ABORTS")?, stacks: programs.map("ABORT_STACKS")? })
    }

    pub fn counts(&self) -> Vec<AbortCount> {
        let parts = |counted: &Counted| (counted.count, counted.comm);
        counted::sums(&self.counts, parts, |key, count, comm| AbortCount { key, count, comm })
    }

    pub(super) fn of_process(&self, tgid: u32) -> Vec<AbortKey> {
        let keys = self.counts.keys().filter_map(Result::ok).map(|Fact(key)| key);
        keys.filter(|key| key.tgid == tgid).collect()
    }

    /// The process has ended and will close nothing more.
    pub fn forget(&mut self, key: AbortKey) {
        // Fails only when there is nothing to remove.
        let _ = self.counts.remove(&Fact(key));
    }

    /// Sampled closes since this was called last.
    pub fn take_stacks(&mut self) -> Vec<(AbortStackKey, u64)> {
        counted::take(&mut self.stacks)
    }
}
