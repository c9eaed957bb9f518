//! What of the host decides how much tlsclose can do: for `tlsclose doctor`. Works without root, as
//! far as the host shows these things to everybody.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

use super::memory::{self, Budget};
use super::rights::{KEPT, Right, SYS_ADMIN, SYS_PTRACE, SYS_RESOURCE};

/// One thing about the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFact {
    /// Stable name.
    pub name: String,
    pub found: String,
    /// What it costs, where it costs something.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub costs: String,
}

/// Inode of the first PID namespace (include/linux/proc_ns.h, `PROC_PID_INIT_INO`).
const HOST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Bytes of locked memory that the maps need by default, with some tens of CPUs, where they count.
const MAPS: u64 = 256 << 20;

/// Where the kernel shows its types.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Looks at this host; `btf` is where its types are, if not where the kernel shows them, and `cgroupfs`
/// where its cgroups are.
pub fn of_this_host(btf: Option<&Path>, cgroupfs: &Path) -> Vec<HostFact> {
    of_host(Path::new("/"), btf.unwrap_or(Path::new(BTF)), cgroupfs)
}

fn of_host(root: &Path, btf: &Path, cgroupfs: &Path) -> Vec<HostFact> {
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    let status = read("proc/self/status").unwrap_or_default();
    let mounts = read("proc/self/mounts").unwrap_or_default();
    vec![
        lockdown(read("sys/kernel/security/lockdown").as_deref()),
        security_modules(
            read("sys/kernel/security/lsm").as_deref(),
            read("proc/self/attr/current").as_deref(),
            holds(&status, &SYS_PTRACE) && is_closed(root),
        ),
        type_information(btf),
        capabilities(&status),
        memlock(getrlimit(Resource::Memlock).current, charges_locked_memory(btf), holds(&status, &SYS_RESOURCE)),
        memory_limit(memory::limit()),
        tracefs(root, &mounts),
        bpffs(&mounts),
        cgroups(cgroupfs),
        pid_namespace(root),
    ]
}

fn fact(name: &str, found: &str, costs: &str) -> HostFact {
    HostFact { name: name.to_owned(), found: found.to_owned(), costs: costs.to_owned() }
}

/// Of the cgroup that the agent runs in: copies of the files that are read for names count there.
fn memory_limit(limit: Option<u64>) -> HostFact {
    let Some(limit) = limit else { return fact("memory", "not limited", "") };
    let [limit, copies] = [limit, Budget::of(Some(limit)).copies].map(|bytes| bytes >> 20);
    fact("memory", &format!("{limit} MiB; copies of programs, read for names, take up to {copies} MiB"), "")
}

/// `none [integrity] confidentiality`.
fn lockdown(text: Option<&str>) -> HostFact {
    let mode = text.and_then(|text| text.split_once('[')?.1.split_once(']')).map(|(mode, _)| mode);
    let costs = match mode {
        Some("confidentiality") => {
            "programs may not read kernel memory by address: leaks are found without their lines of code, and more is \
             missing below; before 5.15 the agent does not start"
        }
        _ => "",
    };
    fact("lockdown", mode.unwrap_or("none, or not visible"), costs)
}

/// The list of modules, and what one of them has confined the agent to: a name, after which AppArmor says how.
fn security_modules(list: Option<&str>, profile: Option<&str>, is_closed: bool) -> HostFact {
    let list = list.map_or("not visible", str::trim);
    let profile = profile.map(|profile| profile.trim_matches(['\0', '\n'])).filter(|profile| !profile.is_empty());
    let found = match profile {
        Some(profile) if profile != "unconfined" => format!("{list}; runs as {profile}"),
        _ => list.to_owned(),
    };
    // Without a profile it has other reasons, and is about the first process only.
    let costs = if is_closed && profile.is_some_and(|profile| profile.ends_with("(enforce)")) {
        "processes of other profiles cannot be inspected: their programs and functions have no names, and their code \
         paths are cut (Kubernetes: appArmorProfile Unconfined)"
    } else {
        ""
    };
    fact("lsm", &found, costs)
}

/// The first process shows nobody what it executes.
fn is_closed(root: &Path) -> bool {
    let executes = fs::read_link(root.join("proc/1/exe"));
    executes.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

fn type_information(btf: &Path) -> HostFact {
    match fs::metadata(btf) {
        Ok(file) => fact("btf", &format!("{}, {} KiB", btf.display(), file.len() / 1024), ""),
        Err(error) => fact("btf", &format!("{}: {error}", btf.display()), "nothing works without a file for --btf"),
    }
}

/// The line `CapEff:` of a `/proc/self/status`.
fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn holds(status: &str, right: &Right) -> bool {
    effective(status).is_some_and(|held| held & right.bit.bits() != 0)
}

fn capabilities(status: &str) -> HostFact {
    let Some(held) = effective(status) else {
        return fact("capabilities", "not visible", "");
    };
    let is_held = |right: &&Right| held & right.bit.bits() != 0;
    let names: Vec<&str> = KEPT.iter().chain([&SYS_ADMIN]).filter(is_held).map(|right| right.name).collect();
    let missing = KEPT.iter().filter(|right| !is_held(right) && !right.without.is_empty());
    let costs: Vec<String> = missing.map(|right| format!("without {}, {}", right.name, right.without)).collect();
    let found = if names.is_empty() { "none of those that are used".to_owned() } else { names.join(" ") };
    fact("capabilities", &found, &costs.join("; "))
}

/// Before 5.11 the memory of BPF maps counts as locked memory; their size was kept in a structure of its own then
/// (`struct bpf_map_memory` in include/linux/bpf.h). None where the types cannot be read.
fn charges_locked_memory(btf: &Path) -> Option<bool> {
    const STRUCTURE: &[u8] = b"\0bpf_map_memory\0";
    // Opening anything else may wait for ever.
    let types = fs::metadata(btf).is_ok_and(|file| file.is_file()).then(|| fs::read(btf).ok())??;
    Some(types.windows(STRUCTURE.len()).any(|bytes| bytes == STRUCTURE))
}

/// `limit` is RLIMIT_MEMLOCK in bytes, without one none.
fn memlock(limit: Option<u64>, is_charged: Option<bool>, can_raise: bool) -> HostFact {
    let found = limit.map_or("unlimited".to_owned(), |bytes| format!("{} KiB", bytes / 1024));
    let (what, costs) = match (is_charged, limit) {
        (Some(false), _) => ("; the memory of BPF maps is not counted here (since 5.11)", ""),
        (None, _) | (Some(true), None) => ("", ""),
        (Some(true), Some(_)) if can_raise => {
            ("; counts the memory of BPF maps; the agent lifts it (CAP_SYS_RESOURCE)", "")
        }
        (Some(true), Some(bytes)) if bytes >= MAPS => ("; counts the memory of BPF maps, and is enough", ""),
        (Some(true), Some(_)) => (
            "; counts the memory of BPF maps",
            "too little: the agent starts only with CAP_SYS_RESOURCE, or with LimitMEMLOCK=infinity",
        ),
    };
    fact("memlock", &(found + what), costs)
}

fn tracefs(root: &Path, mounts: &str) -> HostFact {
    const COSTS: &str =
        "where programs may not be attached to functions, the lines of accept() and close() are not known";
    let places = ["sys/kernel/tracing", "sys/kernel/debug/tracing"];
    match places.iter().find(|place| root.join(place).join("events/syscalls").is_dir()) {
        Some(place) => fact("tracefs", &format!("/{place}"), ""),
        None if is_mounted(mounts, "tracefs") => fact("tracefs", "mounted, and may not be read", COSTS),
        None => fact("tracefs", "not mounted", COSTS),
    }
}

fn bpffs(mounts: &str) -> HostFact {
    let found = if is_mounted(mounts, "bpf") { "mounted" } else { "not mounted" };
    fact("bpffs", &format!("{found}; not needed: nothing is pinned"), "")
}

/// By `/proc/self/mounts`, whose third word is the type.
fn is_mounted(mounts: &str, file_system: &str) -> bool {
    mounts.lines().any(|line| line.split_whitespace().nth(2) == Some(file_system))
}

fn cgroups(cgroupfs: &Path) -> HostFact {
    let has = |path: &str| cgroupfs.join(path).exists();
    let version = match (has("cgroup.controllers"), has("unified/cgroup.controllers"), cgroupfs.exists()) {
        (true, ..) => "v2",
        (_, true, _) => "v1 and v2",
        (.., true) => "v1",
        _ => "not mounted",
    };
    fact("cgroups", version, if version == "not mounted" { "containers are not told apart" } else { "" })
}

/// The census walks the tasks of the reader's PID namespace only (kernel/bpf/task_iter.c).
fn pid_namespace(root: &Path) -> HostFact {
    let inode = fs::metadata(root.join("proc/self/ns/pid")).map(|namespace| namespace.ino());
    let entries = fs::read_dir(root.join("proc")).into_iter().flatten().flatten();
    let is_process =
        |entry: &fs::DirEntry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
    let processes = entries.filter(is_process).count();
    match inode {
        Ok(HOST_PID_NAMESPACE) => fact("pid_namespace", &format!("the host's, {processes} processes"), ""),
        Ok(_) => {
            let costs = format!(
                "sees {processes} processes, and finds their leaks only with the host's --procfs: not in the host's PID \
                 namespace (hostPID)"
            );
            fact("pid_namespace", "a container's", &costs)
        }
        Err(_) => fact("pid_namespace", "not visible", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lockdown_is_what_stands_in_brackets() {
        for (text, found, costs) in [
            (Some("[none] integrity confidentiality\n"), "none", false),
            (Some("none [integrity] confidentiality\n"), "integrity", false),
            (Some("none integrity [confidentiality]\n"), "confidentiality", true),
            (Some("garbage"), "none, or not visible", false),
            (None, "none, or not visible", false),
        ] {
            let fact = lockdown(text);
            assert_eq!((fact.found.as_str(), !fact.costs.is_empty()), (found, costs), "{text:?}");
        }
    }

    #[test]
    fn of_security_modules_what_they_forbid_is_said_and_not_that_they_are_there() {
        const LIST: Option<&str> = Some("lockdown,yama,apparmor\n");
        for (list, profile, is_closed, found, costs) in [
            (LIST, Some("unconfined\n"), true, "lockdown,yama,apparmor", false),
            (LIST, None, true, "lockdown,yama,apparmor", false),
            (
                LIST,
                Some("cri-containerd.apparmor.d (enforce)\n"),
                true,
                "lockdown,yama,apparmor; runs as cri-containerd.apparmor.d (enforce)",
                true,
            ),
            (LIST, Some("mine (complain)\n"), true, "lockdown,yama,apparmor; runs as mine (complain)", false),
            (LIST, Some("mine (enforce)\n"), false, "lockdown,yama,apparmor; runs as mine (enforce)", false),
            (
                None,
                Some("system_u:system_r:init_t:s0\0"),
                true,
                "not visible; runs as system_u:system_r:init_t:s0",
                false,
            ),
        ] {
            let fact = security_modules(list, profile, is_closed);
            assert_eq!((fact.found.as_str(), !fact.costs.is_empty()), (found, costs));
        }
    }

    #[test]
    fn capabilities_are_named_held_and_missing() {
        let all = capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n");
        assert!(all.found.contains("CAP_BPF") && all.costs.is_empty(), "{all:?}");
        let some = capabilities("CapEff:\t000000c000000000\n");
        assert_eq!(some.found, "CAP_BPF CAP_PERFMON");
        assert!(some.costs.starts_with("without CAP_SYS_PTRACE, programs and functions"), "{some:?}");
        assert!(some.costs.ends_with("; without CAP_SETGID, the symbol helper keeps its groups"), "{some:?}");
        assert_eq!(capabilities("CapEff:\t0\n").found, "none of those that are used");
        assert_eq!(capabilities("").found, "not visible");
    }

    #[test]
    fn locked_memory_costs_something_where_maps_count_and_nobody_lifts_its_limit() {
        const KIB_64: Option<u64> = Some(64 << 10);
        for (limit, is_charged, can_raise, found, costs) in [
            (KIB_64, Some(false), false, "64 KiB; the memory of BPF maps is not counted here (since 5.11)", false),
            (
                KIB_64,
                Some(true),
                true,
                "64 KiB; counts the memory of BPF maps; the agent lifts it (CAP_SYS_RESOURCE)",
                false,
            ),
            (KIB_64, Some(true), false, "64 KiB; counts the memory of BPF maps", true),
            (Some(MAPS), Some(true), false, "262144 KiB; counts the memory of BPF maps, and is enough", false),
            (None, Some(true), false, "unlimited", false),
            (KIB_64, None, false, "64 KiB", false),
        ] {
            let fact = memlock(limit, is_charged, can_raise);
            assert_eq!((fact.found.as_str(), !fact.costs.is_empty()), (found, costs));
        }
    }

    #[test]
    fn whether_maps_count_as_locked_memory_is_read_from_the_types() {
        let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/btf");
        for (kernel, is_charged) in [("5.10", true), ("6.1", false), ("6.12", false), ("6.18", false), ("7.2", false)] {
            assert_eq!(charges_locked_memory(&recorded.join(format!("{kernel}.btf"))), Some(is_charged), "{kernel}");
        }
        assert_eq!(charges_locked_memory(Path::new("/nonexistent")), None);
    }

    #[test]
    fn file_systems_are_mounted_or_not_and_may_be_unreadable() {
        let directory = tempfile::tempdir().unwrap();
        let mounts = "proc /proc proc rw 0 0\nbpf /sys/fs/bpf bpf rw,mode=700 0 0\ntracefs /t tracefs rw 0 0\n";
        assert_eq!(bpffs(mounts).found, "mounted; not needed: nothing is pinned");
        assert_eq!(bpffs("proc /bpf proc rw 0 0\n").found, "not mounted; not needed: nothing is pinned");
        let unreadable = tracefs(directory.path(), mounts);
        assert_eq!((unreadable.found.as_str(), unreadable.costs.is_empty()), ("mounted, and may not be read", false));
        assert_eq!(tracefs(directory.path(), "").found, "not mounted");
        fs::create_dir_all(directory.path().join("sys/kernel/debug/tracing/events/syscalls")).unwrap();
        let readable = tracefs(directory.path(), mounts);
        assert_eq!((readable.found.as_str(), readable.costs.as_str()), ("/sys/kernel/debug/tracing", ""));
    }

    #[test]
    fn a_bare_root_is_no_panic() {
        let directory = tempfile::tempdir().unwrap();
        let cgroupfs = directory.path().join("cgroup");
        let facts = of_host(directory.path(), &directory.path().join("btf"), &cgroupfs);
        let names: Vec<&str> = facts.iter().map(|fact| fact.name.as_str()).collect();
        let expected = "lockdown lsm btf capabilities memlock memory tracefs bpffs cgroups pid_namespace";
        assert_eq!(names.join(" "), expected);
        assert!(facts.iter().any(|fact| fact.name == "tracefs" && !fact.costs.is_empty()));
        assert!(facts.iter().any(|fact| fact.name == "cgroups" && fact.found == "not mounted"));
    }

    #[test]
    fn the_version_of_cgroups_is_that_of_the_place() {
        let directory = tempfile::tempdir().unwrap();
        let cgroupfs = directory.path().join("cgroup");
        let found = || cgroups(&cgroupfs).found;
        assert_eq!(found(), "not mounted");
        fs::create_dir_all(cgroupfs.join("unified")).unwrap();
        assert_eq!(found(), "v1");
        fs::write(cgroupfs.join("unified/cgroup.controllers"), "").unwrap();
        assert_eq!(found(), "v1 and v2");
        fs::write(cgroupfs.join("cgroup.controllers"), "").unwrap();
        assert_eq!(found(), "v2");
    }
}
