//! What the kernel side counts.

use std::collections::BTreeMap;

use aya::maps::{HashMap, MapData, MapError, PerCpuArray};
use tlsclose_common::{
    facts::{Durations, Lost},
    limits::STATES,
};

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
    /// By what (`sockets`, `stacks`, `events`) and reason.
    pub lost: BTreeMap<(&'static str, &'static str), u64>,
}

/// What each reason of loss is called outside.
const LOSSES: [(Lost, &str, &str); 17] = [
    (Lost::SocketsMapFull, "sockets", "map_full"),
    (Lost::OriginsMapFull, "stacks", "map_full"),
    (Lost::StacksBudget, "stacks", "budget"),
    (Lost::StacksRingFull, "stacks", "ring_full"),
    (Lost::StacksBusy, "stacks", "busy"),
    (Lost::StacksLeafUnknown, "stacks", "leaf_unknown"),
    (Lost::EventsRingFull, "events", "ring_full"),
    (Lost::SocketsStale, "events", "stale"),
    (Lost::CopiesBudget, "stacks", "copy_budget"),
    (Lost::PythonThreads, "stacks", "python_threads"),
    (Lost::PythonUnreadable, "stacks", "python_unreadable"),
    (Lost::AbortsFull, "events", "aborts_full"),
    (Lost::ProcessesMapFull, "stacks", "process_map_full"),
    (Lost::TlsSocketsFull, "events", "tls_sockets_full"),
    (Lost::TlsClosesFull, "events", "tls_closes_full"),
    (Lost::TlsRecords, "events", "tls_records"),
    (Lost::CloseRange, "events", "close_range"),
];

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
        for (slot, what, reason) in LOSSES {
            let sum: u64 = self.lost.get(&(slot as u32), 0)?.iter().sum();
            *counters.lost.entry((what, reason)).or_default() += sum;
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
        self.read().is_ok_and(|counters| counters.lost.get(&("sockets", "map_full")).is_some_and(|lost| *lost > 0))
    }
}
