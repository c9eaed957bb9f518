//! Runs the census and reads what it writes.

use std::{
    io::{ErrorKind, Read},
    time::{Duration, Instant},
};

use aya::{maps::PerCpuValues, programs::Iter};
use tlsclose_common::facts::{CensusCounts, Holder};

use crate::clock::Moment;

use super::{
    load::Kernel,
    lockdown,
    pod::{Fact, read},
};

/// The kernel hands out at most 32 KiB at a time, whatever the buffer.
const CHUNK: usize = 32 * 1024;
const RECORD: usize = size_of::<Holder>();

/// What one census found besides its records.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// TCP sockets held by files, by state.
    pub sockets: [u64; 16],
    pub tasks: u64,
    pub fds: u64,
    /// Half-closed sockets that a file holds and no descriptor table shows.
    pub unheld: u64,
    /// Duration, reading and handling of the records included.
    pub took: Duration,
    /// What of it this thread was running: a busy host makes a census long, but not dear.
    pub cpu: Duration,
    /// The kernel's jiffies and monotonic clock (ns) at one moment of the walk.
    pub jiffies: u64,
    pub now: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("the census failed: {0}")]
pub struct CensusError(String);

impl Kernel {
    /// Walks every descriptor of the host; `each` gets one record for each half-closed one.
    pub fn census(&mut self, mut each: impl FnMut(&Holder)) -> Result<Totals, CensusError> {
        let failed = |error: &dyn std::fmt::Display| CensusError(error.to_string());
        let (start, cpu_before) = (Instant::now(), thread_cpu_time());
        self.control_now.census = self.control_now.census.wrapping_add(1);
        self.control_now.census_began = Moment::now().0;
        self.control_now.half_closed = self.half_closed_entries().unwrap_or(u64::MAX);
        self.write_control();
        self.reset_counts().map_err(|error| failed(&error))?;

        let program: &mut Iter = self
            .ebpf
            .program_mut("census")
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| failed(&"the program is not in the BPF object"))?;
        let link = program.attach().map_err(|error| failed(&error))?;
        let link = program.take_link(link).map_err(|error| failed(&error))?;
        let mut file = link.into_file().map_err(|error| failed(&error))?;
        let mut buffer = vec![0u8; CHUNK];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => buffer[..length].chunks_exact(RECORD).filter_map(read).for_each(|record| each(&record)),
                // After a million descriptors without output the kernel wants to be asked again.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(failed(&error)),
            }
        }
        let mut totals = self.read_counts().map_err(|error| failed(&error))?;
        totals.took = start.elapsed();
        totals.cpu = thread_cpu_time().saturating_sub(cpu_before);
        Ok(totals)
    }

    /// Says how long a tick is. From now on a census shows established connections without keepalive
    /// on which nothing moved for `idle_after` seconds; 0: none.
    pub fn set_ticks(&mut self, per_second: u64, idle_after: f64) {
        self.control_now.ticks_per_second = per_second as u32;
        self.control_now.idle_after = (idle_after * per_second as f64).min(f64::from(i32::MAX)) as u32;
        self.write_control();
    }

    /// A census sees every process of the host.
    pub fn sees_all(&self) -> bool {
        self.control_now.sees_all != 0
    }

    /// The connections in accept queues, of which only the addresses are known, may be looked at.
    pub fn walks_queues(&self) -> bool {
        self.is_attached(lockdown::HELPER)
    }

    fn reset_counts(&mut self) -> Result<(), aya::maps::MapError> {
        let cpus = self.census_counts.get(&0, 0)?.len();
        let zeros = vec![Fact(CensusCounts::default()); cpus];
        let zeros = PerCpuValues::try_from(zeros).map_err(aya::maps::MapError::IoError)?;
        self.census_counts.set(0, zeros, 0)
    }

    fn read_counts(&self) -> Result<Totals, aya::maps::MapError> {
        let mut totals = Totals::default();
        for Fact(cpu) in self.census_counts.get(&0, 0)?.iter() {
            for (sum, count) in totals.sockets.iter_mut().zip(cpu.sockets) {
                *sum += count;
            }
            totals.fds += cpu.fds;
            totals.tasks += cpu.tasks;
            totals.unheld += cpu.unheld;
            if cpu.now > totals.now {
                totals.now = cpu.now;
                totals.jiffies = cpu.jiffies;
            }
        }
        Ok(totals)
    }
}

fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
