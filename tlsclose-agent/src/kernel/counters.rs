//! What the kernel side counts, and what it is told about processes.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, AsRawFd},
};

use aya::{maps::MapError, programs::ProgramInfo};
use tlsclose_common::{
    facts::{Durations, LOST_SLOTS, Lost},
    limits::STATES,
};
use tlsclose_core::model::Loss;

use super::{load::Kernel, pod::Fact};
use crate::snapshot::MapUse;

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

/// Run time of one program, from the kernel's bpf statistics.
#[derive(Clone, Debug)]
pub struct Run {
    pub program: String,
    pub nanoseconds: u64,
    pub runs: u64,
}

impl Kernel {
    pub fn counters(&self) -> Result<Counters, MapError> {
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

    /// Run times of our programs; zero where the kernel's bpf statistics are off.
    pub fn runs(&self) -> Vec<Run> {
        self.ebpf
            .programs()
            .filter_map(|(name, program)| {
                let info: ProgramInfo = program.info().ok()?;
                Some((name.to_owned(), info))
            })
            .map(|(program, info)| Run {
                program,
                nanoseconds: info.run_time().as_nanos() as u64,
                runs: info.run_count(),
            })
            .collect()
    }

    /// Runs skipped because a program was running on that CPU already, in softirq over process
    /// context (kernel/bpf/trampoline.c and bpf_trace.c, since 6.1); from fdinfo.
    pub fn recursion_misses(&self) -> u64 {
        let misses = |(_, program): (&str, &aya::programs::Program)| {
            let fd = program.fd().ok()?.as_fd().as_raw_fd();
            fdinfo_number(fd, "recursion_misses:")
        };
        self.ebpf.programs().filter_map(misses).sum()
    }

    /// Sizes of the exact map; the others are lossy or bounded by the number of processes.
    pub fn map_uses(&self) -> Vec<MapUse> {
        let entries = self.half_closed_entries().unwrap_or(0);
        vec![MapUse { map: "HALF_CLOSED".into(), entries, max_entries: u64::from(self.max_sockets) }]
    }

    /// Entries of the exact map: not fewer than there are when this is called.
    pub(super) fn half_closed_entries(&self) -> Result<u64, MapError> {
        let counted = |slot| self.counts.get(&slot, 0).map(|cpus| cpus.iter().sum::<u64>());
        let went = counted(1)?;
        Ok(counted(0)?.saturating_sub(went))
    }

    /// Sampling prefers these processes from now on.
    pub fn arm(&mut self, tgids: &std::collections::BTreeSet<u32>) {
        let now: Vec<u32> = self.armed.keys().filter_map(Result::ok).collect();
        for tgid in now.iter().filter(|tgid| !tgids.contains(tgid)) {
            // Fails only when the process has ended and the kernel side removed it.
            let _ = self.armed.remove(tgid);
        }
        for tgid in tgids.iter().filter(|tgid| !now.contains(tgid)) {
            if self.armed.insert(tgid, 1, 0).is_err() {
                // Full: the rest is sampled like everybody.
                break;
            }
        }
        let any = u32::from(!tgids.is_empty());
        if self.control_now.any_armed != any {
            self.control_now.any_armed = any;
            self.write_control();
        }
    }

    /// accept() calls of the process that failed with EMFILE or ENFILE.
    pub fn emfile_errors(&self, tgid: u32) -> u64 {
        self.emfile.get(&tgid, 0).unwrap_or(0)
    }
}

/// A number out of `/proc/self/fdinfo`.
fn fdinfo_number(fd: std::os::fd::RawFd, field: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(field)?.trim().parse().ok())
}
