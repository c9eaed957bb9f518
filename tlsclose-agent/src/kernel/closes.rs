//! What the kernel side knows of calls of close().

use aya::maps::{HashMap, MapData, PerCpuArray};
use tlsclose_common::facts::{BadCloses, ClosePair, Closer, close_call};

use super::{attach::Programs, counted, load_error::LoadError, pod::Fact};
use tlsclose_core::model::{CloseResult, ProcessId};

pub struct Closes {
    pairs: HashMap<MapData, Fact<ClosePair>, u64>,
    closers: HashMap<MapData, u64, Fact<Closer>>,
    bad: HashMap<MapData, u32, Fact<BadCloses>>,
    calls: PerCpuArray<MapData, u64>,
}

impl Closes {
    pub(super) fn of(programs: &mut Programs) -> Result<Self, LoadError> {
        Ok(Self {
            pairs: programs.map("CLOSES")?,
            closers: programs.map("CLOSERS")?,
            bad: programs.map("BAD_CLOSES")?,
            calls: programs.map("CLOSE_CALLS")?,
        })
    }

    /// Closes of sockets whose opening was sampled, since this was called last.
    pub fn take(&mut self) -> Vec<(ClosePair, u64)> {
        counted::take(&mut self.pairs)
    }

    /// The last close() of the socket at this address that left it open.
    pub fn closer(&self, sk: u64) -> Option<Closer> {
        self.closers.get(&sk, 0).ok().map(|Fact(closer)| closer)
    }

    /// Calls of close() by the process for descriptors that were not open.
    pub fn bad(&self, process: ProcessId) -> Option<BadCloses> {
        let Fact(bad) = self.bad.get(&process.tgid, 0).ok()?;
        (bad.started_at == process.started_at).then_some(bad)
    }

    /// Calls of close() by processes with TCP sockets, by result.
    pub fn calls(&self) -> [(CloseResult, u64); 3] {
        let count = |slot: u32| self.calls.get(&slot, 0).map_or(0, |cpus| cpus.iter().sum());
        [
            (CloseResult::Closed, count(close_call::CLOSED)),
            (CloseResult::StillHeld, count(close_call::STILL_HELD)),
            (CloseResult::BadFd, count(close_call::BAD_FD)),
        ]
    }
}
