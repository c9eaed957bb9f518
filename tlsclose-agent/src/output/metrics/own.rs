//! The agent's own process, under the names every exporter uses.
//!
//! Source: `proc(5)`, `/proc/self/stat`; what cannot be read is left out.

use std::fmt;
use std::fs;

use rustix::process::{Resource, getrlimit};

#[cfg(test)]
use super::family::Declared;
use super::family::Family;
use super::sink::{Sink, Type};

const CPU: Family<0> =
    Family::new(Type::Counter, "process_cpu_seconds_total", [], "Total user and system CPU time spent in seconds.");
const RESIDENT: Family<0> =
    Family::new(Type::Gauge, "process_resident_memory_bytes", [], "Resident memory size in bytes.");
const VIRTUAL: Family<0> =
    Family::new(Type::Gauge, "process_virtual_memory_bytes", [], "Virtual memory size in bytes.");
const OPEN_FDS: Family<0> = Family::new(Type::Gauge, "process_open_fds", [], "Number of open file descriptors.");
const MAX_FDS: Family<0> = Family::new(Type::Gauge, "process_max_fds", [], "Maximum number of open file descriptors.");
const START: Family<0> = Family::new(
    Type::Gauge,
    "process_start_time_seconds",
    [],
    "Start time of the process since unix epoch in seconds.",
);
const THREADS: Family<0> = Family::new(Type::Gauge, "process_threads", [], "Number of OS threads in the process.");

#[cfg(test)]
pub fn families() -> Vec<Declared> {
    [CPU, RESIDENT, VIRTUAL, OPEN_FDS, MAX_FDS, START, THREADS].iter().map(Family::declared).collect()
}

/// What the kernel says of this process.
#[derive(Debug, Default)]
pub struct Own {
    stat: Option<Stat>,
    open_fds: Option<u64>,
    max_fds: Option<u64>,
}

/// Of `/proc/self/stat`; times in seconds, sizes in bytes.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    threads: u64,
    start_time_seconds: f64,
    virtual_bytes: u64,
    resident_bytes: u64,
}

/// What is needed to read it.
struct Units {
    ticks_per_second: f64,
    page_size: u64,
    /// Seconds since the epoch.
    boot_time: f64,
}

impl Own {
    pub fn read() -> Self {
        Self {
            stat: read_stat(),
            // The directory being read is open too.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|fds| (fds.count() as u64).saturating_sub(1)),
            max_fds: getrlimit(Resource::Nofile).current,
        }
    }
}

fn read_stat() -> Option<Stat> {
    let units = Units {
        ticks_per_second: rustix::param::clock_ticks_per_second() as f64,
        page_size: rustix::param::page_size() as u64,
        boot_time: boot_time(&fs::read_to_string("/proc/stat").ok()?)?,
    };
    parse_stat(&fs::read_to_string("/proc/self/stat").ok()?, &units)
}

fn boot_time(stat: &str) -> Option<f64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

fn parse_stat(line: &str, units: &Units) -> Option<Stat> {
    // The name may hold spaces and parentheses: fields are counted after the last one.
    let (_, fields) = line.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // `proc(5)` counts from 1, and the first two are before the parenthesis.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let seconds = |number: usize| Some(field(number)? as f64 / units.ticks_per_second);
    Some(Stat {
        cpu_seconds: seconds(14)? + seconds(15)?,
        threads: field(20)?,
        start_time_seconds: units.boot_time + seconds(22)?,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * units.page_size,
    })
}

pub fn encode(own: &Own, sink: &mut dyn Sink) -> fmt::Result {
    if let Some(stat) = &own.stat {
        CPU.write(sink, [([], stat.cpu_seconds)])?;
        RESIDENT.write(sink, [([], stat.resident_bytes)])?;
        VIRTUAL.write(sink, [([], stat.virtual_bytes)])?;
        START.write(sink, [([], stat.start_time_seconds)])?;
        THREADS.write(sink, [([], stat.threads)])?;
    }
    if let Some(fds) = own.open_fds {
        OPEN_FDS.write(sink, [([], fds)])?;
    }
    if let Some(fds) = own.max_fds {
        MAX_FDS.write(sink, [([], fds)])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        let units = Units { ticks_per_second: 100.0, page_size: 4096, boot_time: 1_700_000_000.0 };
        let line = "4117 (a) b (c) S 1 4117 4117 0 -1 4194560 900 0 0 0 150 50 0 0 20 0 7 0 12345 8192000 300 18446744073709551615";
        assert_eq!(
            parse_stat(line, &units),
            Some(Stat {
                cpu_seconds: 2.0,
                threads: 7,
                start_time_seconds: 1_700_000_123.45,
                virtual_bytes: 8_192_000,
                resident_bytes: 1_228_800,
            })
        );
        assert_eq!(parse_stat("4117 (a) S 1", &units), None);
        assert_eq!(parse_stat("", &units), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let own = Own::read();
        let stat = own.stat.unwrap();
        assert!(stat.resident_bytes > 100_000 && stat.threads >= 1);
        assert!(stat.start_time_seconds > 1_500_000_000.0);
        assert!(own.open_fds.unwrap() >= 3 && own.max_fds.unwrap() >= 3);
    }
}
