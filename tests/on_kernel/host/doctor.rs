//! What `tlsclose doctor` says of the host: the limit of locked memory, file systems, namespaces, with and without root.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::btf::OF_THIS_KERNEL;
use tlsclose_tests::child::{copy_of, run};
use tlsclose_tests::host::{kernel_version, needs, tlsclose, tool};
use tlsclose_tests::report::list;
use tlsclose_tests::seconds;

/// In this order in the table, in `-o json` and in the API.
const FACTS: [&str; 10] =
    ["lockdown", "lsm", "btf", "capabilities", "memlock", "memory", "tracefs", "bpffs", "cgroups", "pid_namespace"];

/// The exit code and the JSON of `doctor`, run by a command that becomes it.
fn doctor(mut command: Command) -> (Option<i32>, Value) {
    let output = run(command.args(["doctor", "-o", "json"]), seconds(20));
    let report = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.code, report)
}

/// A shell that does this first.
fn after(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{script}; exec \"$0\" \"$@\"")]).arg(tlsclose());
    command
}

/// The same in a mount namespace of its own.
fn unmounted(script: &str) -> Command {
    let mut command = Command::new(tool("unshare"));
    command.args(["--mount", "sh", "-c", &format!("{script}; exec \"$0\" \"$@\"")]).arg(tlsclose());
    command
}

fn names(report: &Value) -> Vec<&str> {
    list(&report["host"]).filter_map(|fact| fact["name"].as_str()).collect()
}

fn fact<'a>(report: &'a Value, name: &str) -> (&'a str, &'a str) {
    let fact = list(&report["host"]).find(|fact| fact["name"] == name).unwrap_or_else(|| panic!("{report:#}"));
    (fact["found"].as_str().expect("a text"), fact["costs"].as_str().unwrap_or_default())
}

#[test]
fn the_doctor_says_the_same_in_its_table_in_json_and_in_the_api() {
    let (code, report) = doctor(Command::new(tlsclose()));
    assert_eq!((code, names(&report)), (Some(0), FACTS.to_vec()), "{report:#}");
    let table = run(Command::new(tlsclose()).arg("doctor"), seconds(20)).stdout;
    for name in FACTS {
        let line = table.lines().find(|line| line.starts_with(&format!("host {name} ")));
        // The number of processes changes.
        let found = fact(&report, name).0.split(',').next().expect("a text");
        assert!(line.is_some_and(|line| line.contains(found)), "no {name}: {found}: {table}");
    }
    let served = Agent::start().get("/api/v1/doctor").json();
    assert_eq!(names(&served), FACTS, "{served:#}");
    assert_eq!(served["conclusion"], report["conclusion"], "{served:#}");
    for name in ["lockdown", "lsm", "btf", "tracefs", "bpffs", "cgroups"] {
        assert_eq!(fact(&served, name), fact(&report, name), "{served:#}");
    }
}

/// Before 5.11 the maps count, and without CAP_SYS_RESOURCE nobody lifts the limit.
#[test]
fn the_doctor_says_whether_locked_memory_is_limited_and_whether_that_matters() {
    needs(&["setpriv"]);
    let counts = kernel_version() < (5, 11);
    let (code, report) = doctor(after("ulimit -l 64"));
    let (found, costs) = fact(&report, "memlock");
    assert_eq!((code, costs), (Some(0), ""), "{report:#}");
    let expected = if counts { "CAP_SYS_RESOURCE" } else { "not counted here" };
    assert!(found.starts_with("64 KiB; ") && found.contains(expected), "{report:#}");

    let lifting = after("ulimit -l 64");
    let mut without = Command::new(tool("setpriv"));
    without.arg("--bounding-set=-sys_resource").arg(lifting.get_program()).args(lifting.get_args());
    let (code, report) = doctor(without);
    let (found, costs) = fact(&report, "memlock");
    assert!(found.starts_with("64 KiB; "), "{report:#}");
    assert_eq!((code, costs.contains("LimitMEMLOCK=infinity")), (Some(i32::from(counts)), counts), "{report:#}");

    let limits = fs::read_to_string("/proc/self/limits").expect("limits");
    let own = limits.lines().find_map(|line| line.strip_prefix("Max locked memory")).expect("the limit");
    let own = own.split_whitespace().next().and_then(|bytes| bytes.parse::<u64>().ok());
    let own = own.map_or("unlimited".to_owned(), |bytes| format!("{} KiB", bytes / 1024));
    let (_, report) = doctor(Command::new(tlsclose()));
    assert!(fact(&report, "memlock").0.starts_with(&own), "not {own}: {report:#}");
}

#[test]
fn the_doctor_says_that_nothing_is_lost_without_bpffs() {
    needs(&["unshare"]);
    let (code, report) = doctor(unmounted("mount -t bpf bpf /sys/fs/bpf"));
    assert_eq!((code, fact(&report, "bpffs").0), (Some(0), "mounted; not needed: nothing is pinned"), "{report:#}");
    let (without, report) = doctor(unmounted("while umount -t bpf -a; do grep -q ' bpf ' /proc/mounts || break; done"));
    assert_eq!(
        (without, fact(&report, "bpffs")),
        (Some(0), ("not mounted; not needed: nothing is pinned", "")),
        "{report:#}"
    );
}

/// Where programs are attached to functions, nothing needs it.
#[test]
fn the_doctor_says_what_is_lost_without_tracefs() {
    needs(&["unshare"]);
    let (code, report) = doctor(unmounted("umount -t tracefs -a; umount /sys/kernel/tracing"));
    let (found, costs) = fact(&report, "tracefs");
    assert_eq!((code, found), (Some(0), "not mounted"), "{report:#}");
    assert!(costs.contains("the lines of accept() and close() are not known"), "{report:#}");
    let accepts = list(&report["features"]).find(|feature| feature["name"] == "accept4_stacks").expect("the feature");
    let at_function = accepts["probe"].as_str().is_some_and(|probe| probe.starts_with("fexit "));
    assert_eq!(accepts["available"], at_function, "{report:#}");
    let said = report["conclusion"].as_str().expect("a conclusion");
    assert_eq!(said.contains("the line of code where accept4() took a socket is not known"), !at_function, "{said}");
}

#[test]
fn the_doctor_counts_what_it_sees_outside_of_the_hosts_pid_namespace() {
    needs(&["unshare"]);
    let mut command = Command::new(tool("unshare"));
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg("sh").args(["-c", "\"$0\" \"$@\"; exit $?"]);
    command.arg(tlsclose());
    let (code, report) = doctor(command);
    let (found, costs) = fact(&report, "pid_namespace");
    assert_eq!((code, found), (Some(0), "a container's"), "{report:#}");
    // The shell and the doctor.
    assert!(costs.starts_with("sees 2 processes, "), "{report:#}");
    assert!(costs.ends_with(": not in the host's PID namespace (hostPID)"), "{report:#}");
    let conclusion = report["conclusion"].as_str().expect("a conclusion");
    assert!(conclusion.starts_with("reduced: ") && conclusion.ends_with(costs), "{report:#}");
}

/// As in a container that does not show `/sys`: with a file of the same types, nothing is lost.
#[test]
fn without_types_the_doctor_asks_for_a_file_of_them() {
    needs(&["unshare"]);
    let directory = TempDir::new().expect("a directory");
    let types = directory.path().join("vmlinux.btf");
    fs::copy(OF_THIS_KERNEL, &types).expect("a copy");
    const HIDE: &str = "mount -t tmpfs none /sys/kernel/btf";
    let (code, report) = doctor(unmounted(HIDE));
    let conclusion = report["conclusion"].as_str().expect("a conclusion");
    assert_eq!((code, fact(&report, "btf").1), (Some(1), "nothing works without a file for --btf"), "{report:#}");
    assert!(conclusion.starts_with("cannot run: ") && conclusion.contains("with --btf"), "{report:#}");
    let mut given = unmounted(HIDE);
    let output = run(given.args(["doctor", "-o", "json", "--btf"]).arg(&types), seconds(20));
    let report: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!((output.code, &report["can_run"]), (Some(0), &Value::Bool(true)), "{report:#}");
}

/// What the host shows to everybody is said all the same.
#[test]
fn without_root_the_doctor_says_what_it_can_and_why_nothing_runs() {
    let (_directory, program) = copy_of(&tlsclose(), "tlsclose");
    let mut command = Command::new(program);
    command.uid(65534).gid(65534);
    let (code, report) = doctor(command);
    assert_eq!((code, &report["can_run"]), (Some(1), &Value::Bool(false)), "{report:#}");
    let conclusion = report["conclusion"].as_str().expect("a conclusion");
    assert!(conclusion.starts_with("cannot run: ") && conclusion.contains("CAP_BPF"), "{report:#}");
    assert_eq!(names(&report), FACTS, "{report:#}");
    assert_eq!(fact(&report, "capabilities").0, "none of those that are used", "{report:#}");
    assert!(fact(&report, "btf").0.starts_with("/sys/kernel/btf/vmlinux, "), "{report:#}");
    assert!(fact(&report, "pid_namespace").0.starts_with("the host's, "), "{report:#}");
    assert_eq!(fact(&report, "tracefs").0, "mounted, and may not be read", "{report:#}");
    let features: Vec<&Value> = list(&report["features"]).collect();
    assert!(features.len() > 20, "{report:#}");
    for feature in features {
        let without = feature["without"].as_str().is_some_and(|costs| !costs.is_empty());
        assert_eq!((&feature["available"], without), (&Value::Bool(false), true), "{feature:#}");
    }
}
