//! The kernel's own account of BPF programs and maps.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::process;
use crate::run;

const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// While this lives, the kernel counts runs of BPF programs and their time.
pub struct Statistics {
    before: String,
}

impl Statistics {
    pub fn enable() -> Result<Statistics> {
        let before = fs::read_to_string(STATISTICS).with_context(|| format!("cannot read {STATISTICS}"))?;
        fs::write(STATISTICS, "1").with_context(|| format!("cannot write {STATISTICS}"))?;
        Ok(Statistics { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = fs::write(STATISTICS, self.before.trim()) {
            eprintln!("warning: {STATISTICS} stays on: {error}");
        }
    }
}

/// Runs of one program since it was loaded.
#[derive(Clone, Debug)]
pub struct Runs {
    pub id: u64,
    pub name: String,
    pub count: f64,
    pub nanoseconds: f64,
}

impl Runs {
    /// How often it ran since, and for how many nanoseconds.
    pub fn since(&self, before: &[Runs]) -> (f64, f64) {
        let earlier = before.iter().find(|earlier| earlier.id == self.id);
        let (count, nanoseconds) = earlier.map_or((0.0, 0.0), |was| (was.count, was.nanoseconds));
        (self.count - count, self.nanoseconds - nanoseconds)
    }
}

/// The programs that a process loaded and holds.
pub fn runs(pid: u32) -> Result<Vec<Runs>> {
    let ids = process::bpf_ids(pid, "prog_id")?;
    let number = |program: &Value, field: &str| program[field].as_f64().unwrap_or(0.0);
    let programs = list("prog")?;
    let ours = programs.iter().filter(|program| has_id(program, &ids));
    Ok(ours
        .map(|program| Runs {
            id: program["id"].as_u64().unwrap_or(0),
            name: program["name"].as_str().unwrap_or("?").to_owned(),
            count: number(program, "run_cnt"),
            nanoseconds: number(program, "run_time_ns"),
        })
        .collect())
}

/// Kernel memory of all maps that a process, or a program it loaded, holds, in MiB.
pub fn map_memory_mib(pid: u32) -> Result<f64> {
    let mut ids = process::bpf_ids(pid, "map_id")?;
    let programs = process::bpf_ids(pid, "prog_id")?;
    for program in list("prog")?.iter().filter(|program| has_id(program, &programs)) {
        let used = program["map_ids"].as_array().into_iter().flatten();
        ids.extend(used.filter_map(Value::as_u64));
    }
    let maps = list("map")?;
    let ours = maps.iter().filter(|map| has_id(map, &ids));
    let bytes: f64 = ours.filter_map(|map| map["bytes_memlock"].as_f64()).sum();
    Ok(bytes / 1024.0 / 1024.0)
}

fn has_id(object: &Value, ids: &BTreeSet<u64>) -> bool {
    object["id"].as_u64().is_some_and(|id| ids.contains(&id))
}

fn list(what: &str) -> Result<Vec<Value>> {
    let output = run::output(Command::new("/usr/sbin/bpftool").args(["-j", what, "show"]))?;
    let list: Value =
        serde_json::from_str(&output).with_context(|| format!("'bpftool -j {what} show' printed no JSON"))?;
    Ok(list.as_array().cloned().unwrap_or_default())
}
