//! What a process uses, from /proc: memory, CPU, and the BPF objects it holds.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Memory in RAM, in MiB.
pub fn rss_mib(pid: u32) -> Result<f64> {
    let status = read(pid, "status")?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = kib.and_then(|kib| kib.trim().trim_end_matches(" kB").parse::<f64>().ok());
    Ok(kib.with_context(|| format!("/proc/{pid}/status has no VmRSS"))? / 1024.0)
}

/// CPU time used so far, by all threads.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = read(pid, "stat")?;
    let ticks = ticks(&stat).with_context(|| format!("/proc/{pid}/stat has no CPU times"))?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_millis(ticks * 1000 / per_second.max(1)))
}

/// The same, with that of the processes it started and that still run.
pub fn cpu_time_of_all(pid: u32) -> Result<Duration> {
    let children: Duration = children(pid).iter().filter_map(|child| cpu_time(*child).ok()).sum();
    Ok(cpu_time(pid)? + children)
}

/// The processes that `pid` started and that still run.
pub fn children(pid: u32) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|child| read(*child, "stat").is_ok_and(|stat| parent(&stat) == Some(pid)))
        .collect()
}

/// Numbers of the BPF programs (`prog_id`) or maps (`map_id`) that a process has descriptors of.
pub fn bpf_ids(pid: u32, what: &str) -> Result<BTreeSet<u64>> {
    Ok(descriptors(pid)?.iter().filter_map(|text| number(text, what)).collect())
}

/// Numbers of the BPF programs that a process has attached for good: iterators run only when they are read.
pub fn attached_programs(pid: u32) -> Result<BTreeSet<u64>> {
    let descriptors = descriptors(pid)?;
    let links = descriptors.iter().filter(|text| number(text, "link_id").is_some() && !is_iterator(text));
    Ok(links.filter_map(|text| number(text, "prog_id")).collect())
}

/// What the kernel says of each open descriptor: proc_pid_fdinfo(5).
fn descriptors(pid: u32) -> Result<Vec<String>> {
    let directory = format!("/proc/{pid}/fdinfo");
    let entries = fs::read_dir(&directory).with_context(|| format!("cannot read {directory}"))?;
    // One that cannot be read was closed meanwhile.
    Ok(entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok()).collect())
}

/// The value of `what: 7` among the lines about a descriptor.
fn number(descriptor: &str, what: &str) -> Option<u64> {
    let number = descriptor.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'))?;
    number.trim().parse().ok()
}

fn is_iterator(descriptor: &str) -> bool {
    descriptor.lines().any(|line| line.strip_prefix("link_type:").is_some_and(|kind| kind.trim() == "iter"))
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    let text = fs::read(&path).with_context(|| format!("cannot read {path}: did it end?"))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The fields after the name, which may hold anything: proc_pid_stat(5) from field 3 on.
fn fields(stat: &str) -> Option<impl Iterator<Item = &str>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace())
}

fn parent(stat: &str) -> Option<u32> {
    fields(stat)?.nth(1)?.parse().ok()
}

/// utime and stime, fields 14 and 15.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = fields(stat)?.skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "77 (a) b) S 12 77 77 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 900 1 2";

    #[test]
    fn a_link_tells_its_program() {
        let link = "pos:\t0\nlink_type:\ttracing\nlink_id:\t12\nprog_tag:\tabcd\nprog_id:\t34\n";
        assert_eq!((number(link, "link_id"), number(link, "prog_id")), (Some(12), Some(34)));
        assert!(!is_iterator(link) && is_iterator("link_type:\titer\nlink_id:\t1\n"));
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        assert_eq!(parent(STAT), Some(12));
        assert_eq!(ticks(STAT), Some(300));
    }
}
