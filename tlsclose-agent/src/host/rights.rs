//! Capabilities: which of them are used, for what, and which are given up once the programs run.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets};

/// A capability that the agent uses (include/uapi/linux/capability.h).
pub struct Right {
    pub bit: CapabilitySet,
    pub name: &'static str,
    /// What is lost without it, in a user's words; empty where loading fails, which says so itself.
    pub without: &'static str,
}

const fn right(bit: CapabilitySet, name: &'static str, without: &'static str) -> Right {
    Right { bit, name, without }
}

/// Those that stay: each census attaches an iterator, hooks come and go, and processes are looked at for
/// as long as the agent runs.
pub const KEPT: [Right; 8] = [
    right(CapabilitySet::BPF, "CAP_BPF", ""),
    right(CapabilitySet::PERFMON, "CAP_PERFMON", ""),
    SYS_PTRACE,
    right(
        CapabilitySet::DAC_READ_SEARCH,
        "CAP_DAC_READ_SEARCH",
        "descriptors of other users' processes are not counted, and programs that only they may read have no names",
    ),
    right(
        CapabilitySet::CHECKPOINT_RESTORE,
        "CAP_CHECKPOINT_RESTORE",
        "libraries that were replaced while they are used have no names",
    ),
    right(CapabilitySet::KILL, "CAP_KILL", "a symbol helper that hangs ends only with its limit of CPU time"),
    right(CapabilitySet::SETUID, "CAP_SETUID", "the symbol helper stays root, without capabilities"),
    right(CapabilitySet::SETGID, "CAP_SETGID", "the symbol helper keeps its groups"),
];

pub const SYS_PTRACE: Right = right(
    CapabilitySet::SYS_PTRACE,
    "CAP_SYS_PTRACE",
    "programs and functions of other processes have no names, and their code paths are cut",
);

/// Stays where a census does not work without it: none of the kernels that are tested.
pub const SYS_ADMIN: Right = right(CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN", "");

/// Given up when the programs are loaded: before 5.11 it lifts the limit of locked memory.
pub const SYS_RESOURCE: Right = right(CapabilitySet::SYS_RESOURCE, "CAP_SYS_RESOURCE", "");

/// Gives up, for this thread and those that it will start, all that is not used any more, and the way to
/// ever get more. CAP_SYS_ADMIN goes with the rest if a census works without it.
pub fn give_up(census_works: impl FnOnce() -> bool) -> io::Result<()> {
    let held = rustix::thread::capabilities(None)?;
    let mut kept = KEPT.iter().fold(CapabilitySet::empty(), |all, right| all | right.bit);
    if held.effective.contains(SYS_ADMIN.bit) {
        let without = CapabilitySets { effective: held.effective - SYS_ADMIN.bit, ..held };
        rustix::thread::set_capabilities(None, without)?;
        let is_needed = !census_works();
        rustix::thread::set_capabilities(None, held)?;
        if is_needed {
            kept |= SYS_ADMIN.bit;
        }
    }
    for bit in CapabilitySet::all().iter().filter(|bit| !kept.contains(*bit)) {
        // Refused without CAP_SETPCAP, and where the kernel does not know it.
        let _ = rustix::thread::remove_capability_from_bounding_set(bit);
    }
    rustix::thread::clear_ambient_capability_set()?;
    let rights = CapabilitySets {
        effective: held.effective & kept,
        permitted: held.permitted & kept,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, rights)?;
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Gives up what [`give_up`] has left, for this thread: from now on only memory that the programs share is read.
pub fn give_up_all() -> io::Result<()> {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}
