//! What of the host decides how much tlsclose can do: for `tlsclose doctor`. Works without root, as
//! far as the host shows these things to everybody.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use serde::{Deserialize, Serialize};

use super::rights::{KEPT, Right, SYS_ADMIN};

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

/// Where the kernel shows its types.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Looks at this host; `btf` is where its types are, if not where the kernel shows them.
pub fn of_this_host(btf: Option<&Path>) -> Vec<HostFact> {
    of_host(Path::new("/"), btf.unwrap_or(Path::new(BTF)))
}

fn of_host(root: &Path, btf: &Path) -> Vec<HostFact> {
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    vec![
        lockdown(read("sys/kernel/security/lockdown").as_deref()),
        fact("lsm", read("sys/kernel/security/lsm").as_deref().map_or("not visible", str::trim), ""),
        type_information(btf),
        capabilities(read("proc/self/status").as_deref().unwrap_or_default()),
        tracefs(root),
        cgroups(root),
        pid_namespace(root),
    ]
}

fn fact(name: &str, found: &str, costs: &str) -> HostFact {
    HostFact { name: name.to_owned(), found: found.to_owned(), costs: costs.to_owned() }
}

/// `none [integrity] confidentiality`.
fn lockdown(text: Option<&str>) -> HostFact {
    let mode = text.and_then(|text| text.split_once('[')?.1.split_once(']')).map(|(mode, _)| mode);
    let costs = match mode {
        Some("confidentiality") => {
            "programs may not read kernel memory by address: the line of the accept is not known"
        }
        _ => "",
    };
    fact("lockdown", mode.unwrap_or("none, or not visible"), costs)
}

fn type_information(btf: &Path) -> HostFact {
    match fs::metadata(btf) {
        Ok(file) => fact("btf", &format!("{}, {} KiB", btf.display(), file.len() / 1024), ""),
        Err(error) => fact("btf", &format!("{}: {error}", btf.display()), "nothing works without a file for --btf"),
    }
}

/// From the line `CapEff:` of `/proc/self/status`.
fn capabilities(status: &str) -> HostFact {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(held) = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()) else {
        return fact("capabilities", "not visible", "");
    };
    let is_held = |right: &&Right| held & right.bit.bits() != 0;
    let names: Vec<&str> = KEPT.iter().chain([&SYS_ADMIN]).filter(is_held).map(|right| right.name).collect();
    let missing = KEPT.iter().filter(|right| !is_held(right) && !right.without.is_empty());
    let costs: Vec<String> = missing.map(|right| format!("without {}, {}", right.name, right.without)).collect();
    let found = if names.is_empty() { "none of those that are used".to_owned() } else { names.join(" ") };
    fact("capabilities", &found, &costs.join("; "))
}

fn tracefs(root: &Path) -> HostFact {
    let places = ["sys/kernel/tracing", "sys/kernel/debug/tracing"];
    match places.iter().find(|place| root.join(place).join("events").is_dir()) {
        Some(place) => fact("tracefs", &format!("/{place}"), ""),
        None => fact("tracefs", "not mounted, or not visible", "the line of the accept is not known"),
    }
}

fn cgroups(root: &Path) -> HostFact {
    let has = |path: &str| root.join("sys/fs/cgroup").join(path).exists();
    let version = match (has("cgroup.controllers"), has("unified/cgroup.controllers"), has("")) {
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
    fn a_bare_root_is_no_panic() {
        let directory = tempfile::tempdir().unwrap();
        let facts = of_host(directory.path(), &directory.path().join("btf"));
        assert_eq!(facts.len(), 7);
        assert!(facts.iter().any(|fact| fact.name == "tracefs" && !fact.costs.is_empty()));
        let mounted = directory.path().join("sys/fs/cgroup/unified");
        fs::create_dir_all(&mounted).unwrap();
        fs::write(mounted.join("cgroup.controllers"), "").unwrap();
        assert_eq!(cgroups(directory.path()).found, "v1 and v2");
    }
}
