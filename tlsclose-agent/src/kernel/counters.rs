//! What the kernel side counts.

use std::collections::BTreeMap;

use aya::maps::{HashMap, MapData, MapError, PerCpuArray};
use tlsclose_common::{
    facts::{Durations, LOST_SLOTS, Lost},
    limits::STATES,
};
use tlsclose_core::model::Loss;

use super::{attach::Programs, load_error::LoadError, options::Options, pod::Fact};
use crate::api::MapUse;

/// Counters since the programs were loaded, summed over CPUs.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// By `old * STATES + new`.
    pub transitions: Vec<u64>,
    /// How long sockets stayed in CLOSE_WAIT and in FIN_WAIT_2.
    pub close_wait: Durations,
    pub fin_wait2: Durations,
    pub lost: BTreeMap<Loss, u64>,
}

/// Every slot that the kernel side counts losses in.
const LOSSES: [(Lost, Loss); LOST_SLOTS as usize] = [
    (Lost::SocketsMapFull, Loss::SocketsMapFull),
    (Lost::OriginsMapFull, Loss::OriginsMapFull),
    (Lost::StacksBudget, Loss::StacksBudget),
    (Lost::StacksRingFull, Loss::StacksRingFull),
    (Lost::StacksBusy, Loss::StacksBusy),
    (Lost::StacksLeafUnknown, Loss::LeafUnknown),
    (Lost::EventsRingFull, Loss::EventsRingFull),
    (Lost::SocketsStale, Loss::Stale),
    (Lost::ProcessesMapFull, Loss::ProcessMapFull),
    (Lost::CopiesBudget, Loss::CopyBudget),
    (Lost::PythonThreads, Loss::PythonThreads),
    (Lost::PythonUnreadable, Loss::PythonUnreadable),
    (Lost::TlsSocketsFull, Loss::TlsSocketsFull),
    (Lost::TlsClosesFull, Loss::TlsClosesFull),
    (Lost::TlsRecords, Loss::TlsRecords),
    (Lost::AbortsFull, Loss::AbortsFull),
    (Lost::CloseRange, Loss::CloseRange),
];

const _: () = {
    let mut slot = 0;
    while slot < LOSSES.len() {
        assert!(LOSSES[slot].0 as usize == slot, "each slot once, in its order");
        slot += 1;
    }
};

pub struct CounterMaps {
    transitions: PerCpuArray<MapData, u64>,
    durations: PerCpuArray<MapData, Fact<Durations>>,
    lost: PerCpuArray<MapData, u64>,
    half_closed: PerCpuArray<MapData, u64>,
    emfile: HashMap<MapData, u32, u64>,
    max_sockets: u32,
}

impl CounterMaps {
    pub(super) fn of(programs: &mut Programs, options: &Options) -> Result<Self, LoadError> {
        Ok(Self {
            transitions: programs.map("TRANSITIONS")?,
            durations: programs.map("DURATIONS")?,
            lost: programs.map("LOST")?,
            half_closed: programs.map("HALF_CLOSED_COUNTS")?,
            emfile: programs.map("EMFILE")?,
            max_sockets: options.max_sockets,
        })
    }

    pub fn read(&self) -> Result<Counters, MapError> {
        let mut counters = Counters { transitions: vec![0; STATES * STATES], ..Counters::default() };
        for (slot, sum) in counters.transitions.iter_mut().enumerate() {
            *sum = self.transitions.get(&(slot as u32), 0)?.iter().sum();
        }
        counters.close_wait = self.durations(0)?;
        counters.fin_wait2 = self.durations(1)?;
        for (slot, loss) in LOSSES {
            let sum: u64 = self.lost.get(&(slot as u32), 0)?.iter().sum();
            *counters.lost.entry(loss).or_default() += sum;
        }
        Ok(counters)
    }

    fn durations(&self, slot: u32) -> Result<Durations, MapError> {
        let mut sum = Durations::default();
        for Fact(cpu) in self.durations.get(&slot, 0)?.iter() {
            sum.sum += cpu.sum;
            for (total, count) in sum.buckets.iter_mut().zip(cpu.buckets) {
                *total += count;
            }
        }
        Ok(sum)
    }

    /// Sizes of the exact map; the others are lossy or bounded by the number of processes.
    pub fn map_uses(&self) -> Vec<MapUse> {
        let entries = self.half_closed().unwrap_or(0);
        vec![MapUse { map: "HALF_CLOSED".into(), entries, max_entries: u64::from(self.max_sockets) }]
    }

    /// Entries of the exact map: not fewer than there are when this is called.
    pub(super) fn half_closed(&self) -> Option<u64> {
        let counted = |slot| self.half_closed.get(&slot, 0).ok().map(|cpus| cpus.iter().sum::<u64>());
        let went = counted(1)?;
        Some(counted(0)?.saturating_sub(went))
    }

    /// accept() calls of the process that failed with EMFILE or ENFILE.
    pub fn emfile_errors(&self, tgid: u32) -> u64 {
        self.emfile.get(&tgid, 0).unwrap_or(0)
    }

    /// The exact map had no room for a socket.
    pub(super) fn lost_sockets(&self) -> bool {
        self.read().is_ok_and(|counters| counters.lost.get(&Loss::SocketsMapFull).is_some_and(|lost| *lost > 0))
    }
}
