//! Runs the census and reads what it writes.

use std::{
    io::{ErrorKind, Read},
    time::{Duration, Instant},
};

use aya::{
    Btf as AyaBtf,
    maps::{MapData, MapError, PerCpuArray, PerCpuValues},
    programs::Iter,
};
use tlsclose_common::facts::{CensusCounts, Holder};

use super::{
    attach::Programs,
    hook::Hook,
    load_error::{LoadError, refused},
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
    /// Descriptors of shared sockets that may have been counted before.
    pub untold: u64,
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

/// Loads the program, which runs whenever a census is taken.
pub(super) fn load(programs: &mut Programs, btf: &AyaBtf) -> Result<(), LoadError> {
    let program: &mut Iter = programs.get(Hook::Census.spec().program)?;
    program.load("task_file", btf).map_err(|error| refused(Hook::Census.attach_point(), &error.into()))
}

pub(super) struct Census {
    counts: PerCpuArray<MapData, Fact<CensusCounts>>,
}

impl Census {
    pub fn of(programs: &mut Programs) -> Result<Self, LoadError> {
        Ok(Self { counts: programs.map("CENSUS")? })
    }

    /// Walks every descriptor of the host; `each` gets one record for each half-closed one.
    pub fn take(&mut self, programs: &mut Programs, mut each: impl FnMut(&Holder)) -> Result<Totals, CensusError> {
        let failed = |error: &dyn std::fmt::Display| CensusError(error.to_string());
        let (start, cpu_before) = (Instant::now(), thread_cpu_time());
        self.reset().map_err(|error| failed(&error))?;

        let program: &mut Iter = programs.get(Hook::Census.spec().program).map_err(|error| failed(&error))?;
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
        let mut totals = self.read().map_err(|error| failed(&error))?;
        totals.took = start.elapsed();
        totals.cpu = thread_cpu_time().saturating_sub(cpu_before);
        Ok(totals)
    }

    fn reset(&mut self) -> Result<(), MapError> {
        let cpus = self.counts.get(&0, 0)?.len();
        let zeros = vec![Fact(CensusCounts::default()); cpus];
        let zeros = PerCpuValues::try_from(zeros).map_err(MapError::IoError)?;
        self.counts.set(0, zeros, 0)
    }

    fn read(&self) -> Result<Totals, MapError> {
        let mut totals = Totals::default();
        for Fact(cpu) in self.counts.get(&0, 0)?.iter() {
            for (sum, count) in totals.sockets.iter_mut().zip(cpu.sockets) {
                *sum += count;
            }
            totals.fds += cpu.fds;
            totals.tasks += cpu.tasks;
            totals.unheld += cpu.unheld;
            totals.untold += cpu.untold;
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
