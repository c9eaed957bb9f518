//! Capabilities: what the unit gives, and commands that have no more.

use std::process::Command;

use crate::host::{kernel_version, root, tool};

/// Where the capabilities stand.
const UNIT: &str = "deploy/systemd/tlsclose.service";

/// Numbers of those that the unit gives (include/uapi/linux/capability.h).
pub const NUMBERS: [(&str, u32); 8] = [
    ("CAP_DAC_READ_SEARCH", 2),
    ("CAP_KILL", 5),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_PERFMON", 38),
    ("CAP_BPF", 39),
    ("CAP_CHECKPOINT_RESTORE", 40),
];

/// Before 5.11 the memory of BPF maps counts as locked, and to raise that limit takes this. The unit raises it.
pub fn for_locked_memory() -> Option<&'static str> {
    (kernel_version() < (5, 11)).then_some("CAP_SYS_RESOURCE")
}

/// The capabilities of the unit, with what makes up for its limit of locked memory.
///
/// # Panics
/// When the unit has none.
pub fn of_unit() -> Vec<String> {
    let unit = std::fs::read_to_string(root().join(UNIT)).expect("the unit");
    let set = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).expect("a set");
    set.split(' ').chain(for_locked_memory()).map(str::to_owned).collect()
}

/// A command that runs its arguments with these capabilities and no new ones.
pub fn with(capabilities: &[String]) -> Command {
    let set: String = capabilities.iter().map(|one| one.replacen("CAP_", ",+", 1).to_lowercase()).collect();
    let mut command = Command::new(tool("setpriv"));
    command.arg(format!("--bounding-set=-all{set}")).arg("--no-new-privs");
    command
}

/// All of the unit's but one.
pub fn without(capability: &str) -> Command {
    let mut rest = of_unit();
    rest.retain(|one| one != capability);
    with(&rest)
}
