//! What the kernel says of our programs: how long they ran, and when they could not.

use std::os::fd::{AsFd, AsRawFd};

use aya::{Ebpf, programs::ProgramInfo};

/// Run time of one program, from the kernel's bpf statistics.
#[derive(Clone, Debug)]
pub struct Run {
    pub program: String,
    pub nanoseconds: u64,
    pub runs: u64,
}

/// Run times of our programs; zero where the kernel's bpf statistics are off.
pub(super) fn runs(ebpf: &Ebpf) -> Vec<Run> {
    ebpf.programs()
        .filter_map(|(name, program)| {
            let info: ProgramInfo = program.info().ok()?;
            Some((name.to_owned(), info))
        })
        .map(|(program, info)| Run { program, nanoseconds: info.run_time().as_nanos() as u64, runs: info.run_count() })
        .collect()
}

/// Runs skipped because a program was running on that CPU already, in softirq over process
/// context (kernel/bpf/trampoline.c and bpf_trace.c, since 6.1); from fdinfo.
pub(super) fn recursion_misses(ebpf: &Ebpf) -> u64 {
    let misses = |(_, program): (&str, &aya::programs::Program)| {
        let fd = program.fd().ok()?.as_fd().as_raw_fd();
        fdinfo_number(fd, "recursion_misses:")
    };
    ebpf.programs().filter_map(misses).sum()
}

/// A number out of `/proc/self/fdinfo`.
fn fdinfo_number(fd: std::os::fd::RawFd, field: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(field)?.trim().parse().ok())
}
