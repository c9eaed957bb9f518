//! Cgroups with a limit of memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::containerd::remove_when_left;
use crate::host::unique_comm;

/// A cgroup of its own, in which commands are started. It goes when it is dropped, which must be
/// after all that runs in it.
pub struct MemoryLimit {
    directory: PathBuf,
    /// Version 1 of cgroups has a hierarchy for memory.
    is_first: bool,
}

impl MemoryLimit {
    /// # Panics
    /// When cgroups cannot be made, or do not limit memory here.
    pub fn of_mib(mib: u64) -> MemoryLimit {
        let own = Path::new("/sys/fs/cgroup/memory");
        let is_first = own.is_dir();
        let root = if is_first { own } else { Path::new("/sys/fs/cgroup") };
        let limit = MemoryLimit { directory: root.join(format!("tlsclose-{}", unique_comm())), is_first };
        fs::create_dir(&limit.directory).expect("a cgroup");
        let name = if is_first { "memory.limit_in_bytes" } else { "memory.max" };
        fs::write(limit.directory.join(name), (mib << 20).to_string()).expect("the controller for memory");
        limit
    }

    /// Becomes the program, in the cgroup.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
        command.arg(self.directory.join("cgroup.procs")).arg(program);
        command
    }

    /// Processes that the kernel has ended because others of them took too much.
    pub fn ended(&self) -> u64 {
        let name = if self.is_first { "memory.oom_control" } else { "memory.events" };
        let text = fs::read_to_string(self.directory.join(name)).expect("what happened in the cgroup");
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")).expect("oom_kill");
        count.trim().parse().expect("a number")
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        remove_when_left(&self.directory);
    }
}
