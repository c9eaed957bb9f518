//! Capabilities: what the unit gives, and commands that have no more.

use std::process::Command;

use crate::host::{kernel_version, root, tool};

/// Where the capabilities stand.
const UNIT: &str = "deploy/systemd/tlsclose.service";

/// Numbers of those that the unit gives (include/uapi/linux/capability.h).
pub const NUMBERS: [(&str, u32); 9] = [
    ("CAP_DAC_READ_SEARCH", 2),
    ("CAP_KILL", 5),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_PERFMON", 38),
    ("CAP_BPF", 39),
    ("CAP_CHECKPOINT_RESTORE", 40),
];

/// BPF iterators ask for CAP_SYS_ADMIN before 5.19.
pub fn needs_sys_admin() -> bool {
    kernel_version() < (5, 19)
}

/// The capabilities of the unit, with what its comment adds for this kernel.
///
/// # Panics
/// When the unit has none.
pub fn of_unit() -> Vec<String> {
    let unit = std::fs::read_to_string(root().join(UNIT)).expect("the unit");
    let set = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).expect("a set");
    let more = needs_sys_admin().then_some("CAP_SYS_ADMIN");
    set.split(' ').chain(more).map(str::to_owned).collect()
}

/// A command that runs its arguments with these capabilities and no new ones.
pub fn with(capabilities: &[String]) -> Command {
    let set: Vec<String> = capabilities.iter().map(|one| one.replacen("CAP_", "+", 1).to_lowercase()).collect();
    let mut command = Command::new(tool("setpriv"));
    command.arg(format!("--bounding-set=-all,{}", set.join(","))).arg("--no-new-privs");
    command
}

/// All of the unit's but one.
pub fn without(capability: &str) -> Command {
    let mut rest = of_unit();
    rest.retain(|one| one != capability);
    with(&rest)
}
