//! `cargo xtask btf`: records, for tests without root, what the agent needs of several kernels' types.

mod reduce;
mod vmlinux;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use tlsclose_common::layout::{FIELDS, TASK_IO_URING, TASK_THREAD_POINTER, TCP_PROBES_OUT, TCP_RETRANSMITS};

use self::reduce::Wanted;
use crate::run::Log;
use crate::vm::{ARM64, KERNELS, image};
use crate::workspace;

/// Record the types of the tested kernels that the agent needs, into tests/data/btf.
///
/// Fetches the kernels as `cargo xtask vm` does, and one for arm64, and takes the running one as well. Needed when the
/// agent reads a field of the kernel that it did not read before.
#[derive(clap::Args)]
pub struct Options {}

/// Fields that only some kernels have.
const SOMETIMES: [(&str, &str); 22] = [
    TASK_IO_URING,
    TASK_THREAD_POINTER,
    TCP_RETRANSMITS,
    TCP_PROBES_OUT,
    ("file", "f_count"),
    ("file", "f_ref.refcnt"),
    ("task_struct", "stack"),
    ("pt_regs", "ip"),
    ("pt_regs", "sp"),
    ("pt_regs", "bp"),
    ("pt_regs", "di"),
    ("pt_regs", "si"),
    ("pt_regs", "dx"),
    ("pt_regs", "r10"),
    ("pt_regs", "orig_ax"),
    ("pt_regs", "regs"),
    ("pt_regs", "pc"),
    ("pt_regs", "orig_x0"),
    ("pt_regs", "syscallno"),
    ("bpf_tramp_image", "image"),
    ("bpf_map_memory", "pages"),
    ("bpf_mem_alloc", "cache"),
];

/// Tracepoints, and functions of which the parameters count.
const TRACEPOINTS: [&str; 8] = [
    "inet_sock_set_state",
    "tcp_destroy_sock",
    "sched_process_exit",
    "sched_process_exec",
    "sched_process_fork",
    "sock_recv_length",
    "sock_send_length",
    "tcp_send_reset",
];
const FUNCTIONS: [&str; 5] =
    ["tcp_recvmsg", "tcp_sendmsg", "tcp_cleanup_rbuf", "__tcp_cleanup_rbuf", "__bpf_trace_tcp_send_reset"];

const HELPERS: [&str; 6] =
    ["seq_write", "ringbuf_output", "task_pt_regs", "for_each_map_elem", "sock_from_file", "get_current_task_btf"];

pub fn run(_: &Options) -> Result<()> {
    let directory = workspace::target("vm");
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let mut log = Log::create(directory.join("btf.log"))?;
    for kernel in KERNELS.iter().chain([&ARM64]) {
        let image = image(&mut log, &directory, kernel)?;
        record(kernel.name, &vmlinux::types(&image, &directory)?)?;
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("no release of this kernel")?;
    let name = release.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
    if KERNELS.iter().all(|kernel| kernel.name != name) {
        record(&name, &fs::read("/sys/kernel/btf/vmlinux").context("this kernel shows no types")?)?;
    }
    Ok(())
}

fn record(name: &str, all: &[u8]) -> Result<()> {
    let fields = FIELDS.iter().map(|(_, structure, path)| (*structure, *path)).chain(SOMETIMES);
    let wanted = Wanted {
        fields: fields.collect(),
        typedefs: TRACEPOINTS.map(|name| format!("btf_trace_{name}")).to_vec(),
        functions: FUNCTIONS.to_vec(),
        enumerators: HELPERS.map(|name| format!("BPF_FUNC_{name}")).to_vec(),
    };
    let few = reduce::reduce(all, &wanted).with_context(|| format!("the types of {name} cannot be read"))?;
    let file = workspace::root().join("tests/data/btf").join(format!("{name}.btf"));
    fs::create_dir_all(file.parent().unwrap_or(Path::new("."))).context("cannot create tests/data/btf")?;
    fs::write(&file, &few).with_context(|| format!("cannot write {}", file.display()))?;
    println!("{}: {} of {} bytes", file.display(), few.len(), all.len());
    Ok(())
}
