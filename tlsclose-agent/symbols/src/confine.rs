//! What the helper gives up before it looks at the first byte of anybody's file.

use std::io;

use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};

use crate::sandbox;

/// `nobody`: owns nothing on any distribution.
const NOBODY: u32 = 65_534;

/// Address space, in bytes: a file may claim to unpack to anything.
const ADDRESS_SPACE: u64 = 2 << 30;

const OPEN_FILES: u64 = 512;

/// What is left.
pub struct Confined {
    /// The user it runs as.
    pub uid: u32,
    /// Landlock is in force; without it only file permissions and the list of system calls are.
    pub landlock: bool,
}

/// Of all that share the agent's memory the kernel shall end the helper first, whose work can be done again
/// (proc_pid_oom_score_adj(5)).
const OOM_SCORE: &str = "1000";

/// Drops identity, capabilities and the right to anything new, for the calling thread, which
/// must be the only one. `heap` is what it may allocate, in bytes.
///
/// A root without CAP_SETUID (a container with few capabilities), or in a user namespace that has
/// no `nobody`, stays root, but without any capability.
pub fn confine(heap: u64) -> io::Result<Confined> {
    limit(Resource::As, ADDRESS_SPACE)?;
    limit(Resource::Data, heap)?;
    limit(Resource::Nofile, OPEN_FILES)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Cpu, sandbox::CPU_SECONDS)?;
    // If that cannot be written, the kernel chooses by size alone.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    limit(Resource::Fsize, 0)?;
    if rustix::process::geteuid().is_root() {
        become_nobody();
    }
    // Also those that a service manager gave to a user other than root.
    rustix::thread::clear_ambient_capability_set()?;
    let nothing = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, nothing)?;
    rustix::thread::set_no_new_privs(true)?;
    // After the change of user id, which takes it back.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let landlock = sandbox::deny_files()?;
    let confined = Confined { uid: rustix::process::geteuid().as_raw(), landlock };
    sandbox::deny_system_calls()?;
    Ok(confined)
}

fn become_nobody() {
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    // Whatever of it is refused is made up for by dropping all capabilities.
    let _ = rustix::thread::set_thread_groups(&[]);
    let _ = rustix::thread::set_thread_res_gid(gid, gid, gid);
    let _ = rustix::thread::set_thread_res_uid(uid, uid, uid);
}

/// Never above what is allowed already.
fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let now = rustix::process::getrlimit(resource);
    let most = now.maximum.map_or(most, |maximum| maximum.min(most));
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    Ok(rustix::process::setrlimit(resource, limit)?)
}
