//! How much memory this process may take, by its control groups, and how much of that is for what.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where cgroups are, as this process sees its own.
const CGROUPS: &str = "/sys/fs/cgroup";

const MIB: u64 = 1 << 20;

/// What the agent itself needs, the kernel's share of its maps included (since 5.11 they count).
const AGENT: u64 = 160 * MIB;

/// However little there is, and however much.
const COPIES: [u64; 2] = [16 * MIB, 768 * MIB];
const HEAP: [u64; 2] = [48 * MIB, 2048 * MIB];

/// What naming may take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Copies of files: in memory, and the kernel counts them as the agent's.
    pub copies: u64,
    /// What the helper allocates.
    pub heap: u64,
}

impl Budget {
    /// As this process is limited now.
    pub fn now() -> Self {
        Self::of(limit())
    }

    /// Two thirds of what the agent leaves are for copies.
    pub fn of(limit: Option<u64>) -> Self {
        let left = limit.map_or(u64::MAX / 2, |limit| limit.saturating_sub(AGENT));
        Self { copies: (left / 3 * 2).clamp(COPIES[0], COPIES[1]), heap: (left / 3).clamp(HEAP[0], HEAP[1]) }
    }
}

/// The least that a cgroup of this process, or one above, allows, in bytes. None where nothing is
/// limited, or nobody says so.
pub fn limit() -> Option<u64> {
    limit_of(&fs::read_to_string("/proc/self/cgroup").ok()?, Path::new(CGROUPS))
}

/// `cgroup` is a `/proc/PID/cgroup` (cgroups(7)).
fn limit_of(cgroup: &str, mounted: &Path) -> Option<u64> {
    let limits = cgroup.lines().filter_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (controllers, path) = line.split_once(':')?;
        let (hierarchy, file) = match controllers {
            "" => (mounted.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|c| c == "memory") => (mounted.join("memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        // A container may see its own cgroup as the root, under the path of the host.
        let path = PathBuf::from(path.trim_start_matches('/'));
        let above = path.ancestors().map(|path| hierarchy.join(path).join(file));
        above.filter_map(|file| limit_in(&fs::read_to_string(file).ok()?)).min()
    });
    limits.min()
}

/// `max`, or bytes; without a limit version 1 says the largest multiple of a page.
fn limit_in(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_least_limit_on_the_way_up_counts() {
        let unlimited = "9223372036854771712\n";
        let mounted = mounted(&[
            ("memory.max", "max\n"),
            ("system.slice/memory.max", "4096\n"),
            ("system.slice/tlsclose.service/memory.max", "8192\n"),
            ("user.slice/memory.max", "max\n"),
            ("memory/memory.limit_in_bytes", unlimited),
            ("memory/kubepods/memory.limit_in_bytes", unlimited),
            ("memory/kubepods/pod1/memory.limit_in_bytes", "1024\n"),
        ]);
        for (cgroup, limit) in [
            ("0::/system.slice/tlsclose.service\n", Some(4096)),
            ("0::/system.slice\n", Some(4096)),
            ("0::/user.slice\n", None),
            ("0::/\n", None),
            ("0::/gone\n", None),
            ("5:cpu:/system.slice\n4:memory:/kubepods/pod1\n0::/\n", Some(1024)),
            ("4:cpu,memory:/kubepods/pod1\n0::/system.slice\n", Some(1024)),
            ("4:memory:/kubepods\n", None),
            ("", None),
            ("memory", None),
        ] {
            assert_eq!(limit_of(cgroup, mounted.path()), limit, "{cgroup:?}");
        }
    }

    #[test]
    fn a_container_that_sees_its_cgroup_as_the_root_finds_its_limit() {
        let mounted = mounted(&[("memory/memory.limit_in_bytes", "2048\n")]);
        assert_eq!(limit_of("4:memory:/kubepods/pod1/0a1b\n", mounted.path()), Some(2048));
    }

    #[test]
    fn what_is_no_number_is_no_limit() {
        for (text, limit) in [("4096\n", Some(4096)), ("0\n", Some(0)), ("max\n", None), ("", None), ("-1", None)] {
            assert_eq!(limit_in(text), limit, "{text:?}");
        }
    }

    #[test]
    fn agent_copies_and_helper_fit_into_the_limit() {
        assert_eq!(Budget::of(None), Budget { copies: COPIES[1], heap: HEAP[1] });
        let mut before = Budget { copies: 0, heap: 0 };
        for mib in (0..8192).step_by(16) {
            let budget = Budget::of(Some(mib * MIB));
            let fits = budget.copies + budget.heap + AGENT <= mib * MIB;
            assert!(fits || mib < 320, "{mib} MiB: {budget:?}");
            assert!(budget.copies >= before.copies && budget.heap >= before.heap, "{mib} MiB: {budget:?}");
            before = budget;
        }
        let shipped = Budget::of(Some(512 * MIB));
        assert_eq!((shipped.copies / MIB, shipped.heap / MIB), (234, 117));
    }
}
