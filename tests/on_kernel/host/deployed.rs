//! The agent with no more rights than the files in `deploy/` give it.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use tempfile::TempDir;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::child::run;
use tlsclose_tests::containerd::Containerd;
use tlsclose_tests::cri::Mounted;
use tlsclose_tests::expect::wait_for_site;
use tlsclose_tests::host::{needs, root, tlsclose, tool};
use tlsclose_tests::http::Server;
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::manifest::Manifest;
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{frames_in, function, list};
use tlsclose_tests::{rights, seconds, wait_for};

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn the_capabilities_of_the_unit_are_enough() {
    needs(&["setpriv"]);
    let mut command = rights::with(&rights::of_unit());
    command.arg(tlsclose());
    let namespace = Netns::new();
    let agent = Agent::start_by(command, &[]);
    // Another user's program, which was replaced while it runs: its file is only in map_files.
    let way = way_named("eof_forget");
    let mut leaky = Leaky::start_by(Language::C, way, &["--count", "4", "--for", "60"], |executable| {
        let mut command = namespace.command(tool("setpriv"));
        command.args(["--reuid=65533", "--regid=65533", "--clear-groups"]).arg(executable);
        command
    });
    leaky.ready();
    fs::remove_file(leaky.executable()).expect("its file");
    let site = wait_for_site(&agent, &leaky, 4);
    let place = frames_in(&site["opened"]["stack"], "ways.c");
    let frame = place.first().unwrap_or_else(|| panic!("{site:#}"));
    assert_eq!((function(frame), &frame["line"]), (&*way.opened_function(), &way.line(Language::C, "opened").into()));
    let process = &site["processes"][0];
    assert!(process["open_fds"].as_u64() >= Some(4), "{process:#}");
    assert_eq!(process["uid"], 65533);
}

#[test]
fn the_agent_of_the_manifest_names_the_leak_of_another_pod() {
    needs(&["containerd", "ctr", "curl", "runc", "busybox"]);
    let (manifest, shared) = (Manifest::of_agent(), TempDir::new().expect("a directory"));
    let mut privileges = manifest.privileges(shared.path());

    let namespace = Netns::new();
    let mut containerd = Containerd::start(&namespace);
    // Where a node's runtime is, which is not this one.
    let runtime = containerd.socket().parent().expect("a directory").to_owned();
    privileges.mounts.push(Mounted { container: "/run/containerd".to_owned(), host: runtime, read_only: true });
    let quick = ["--leak-after=2s", "--leak-window=10s", "--census-interval=500ms"];
    let arguments: Vec<&str> = manifest.arguments().chain(quick).collect();
    containerd.run_agent("tlsclose-x7", &privileges, &arguments);
    let agent = Server::Unix(shared.path().join("agent.sock"));
    wait_for("the agent", seconds(20), || {
        let log = containerd.log("tlsclose-x7");
        assert!(!log.contains(" tlsclose: "), "{log}");
        agent.get("/readyz").ok().filter(|answer| answer.status == 200)
    });
    let doctor = agent.get("/api/v1/doctor").expect("an answer").body;
    let limit = format!("{} MiB; copies of programs", privileges.memory >> 20);
    assert!(doctor.contains(&limit), "it does not see its limit, {limit}: {doctor}");
    let (port, probes) = manifest.probes();
    for path in probes {
        let mut probe = namespace.command("curl");
        let output = run(probe.args(["--silent", "--fail", &format!("http://127.0.0.1:{port}{path}")]), seconds(10));
        assert_eq!(output.code, Some(0), "{path}: {output:?}");
    }
    let id = containerd.run("shop", "payments-6d8", &["eof_forget", "--count", "4", "--for", "60"]);
    let site = wait_for("the leak", seconds(30), || {
        let report = agent.get("/api/v1/leaks").ok()?.json();
        let is_it = |site: &&serde_json::Value| site["processes"][0]["container"]["id"] == *id && site["sockets"] == 4;
        list(&report["sites"]).find(is_it).cloned()
    });
    let process = &site["processes"][0];
    let log = containerd.log("tlsclose-x7");
    assert_eq!(process["container"]["pod"], "payments-6d8", "{log}");
    assert!(process["open_fds"].as_u64() >= Some(4), "{process:#}");
    let way = way_named("eof_forget");
    let place = frames_in(&site["opened"]["stack"], "ways.c");
    let frame = place.first().unwrap_or_else(|| panic!("{site:#}"));
    assert_eq!((function(frame), &frame["line"]), (&*way.opened_function(), &way.line(Language::C, "opened").into()));
}

/// The calls that a set of systemd's stands for, with those of the sets in it.
fn calls(set: &str) -> BTreeSet<String> {
    if !set.starts_with('@') {
        return BTreeSet::from([set.to_owned()]);
    }
    let output = run(Command::new(tool("systemd-analyze")).args(["syscall-filter", set]), seconds(10));
    let lines = output.stdout.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.flat_map(calls).collect()
}

#[test]
fn the_system_calls_of_the_unit_are_enough() {
    needs(&["strace", "systemd-analyze"]);
    let directory = TempDir::new().expect("a directory");
    let trace = directory.path().join("trace");
    let mut command = Command::new(tool("strace"));
    command.args(["-f", "-qq", "-o"]).arg(&trace).arg(tlsclose());
    let namespace = Netns::new();
    let agent = Agent::start_by(command, &[]);
    let mut leaky = Leaky::start(&namespace, Language::C, way_named("eof_forget"), &["--count", "4", "--for", "60"]);
    leaky.ready();
    wait_for_site(&agent, &leaky, 4);
    assert!(agent.tcp().get("/metrics").is_ok());
    drop(agent);

    let trace = fs::read_to_string(trace).expect("a trace");
    // `PID name(arguments…`
    let name = |line: &str| line.split_once(' ')?.1.trim().split_once('(').map(|(name, _)| name.to_owned());
    let is_call = |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let used: BTreeSet<String> = trace.lines().filter_map(name).filter(is_call).collect();
    assert!(used.contains("bpf") && used.len() > 40, "{used:?}");
    let unit = read("deploy/systemd/tlsclose.service");
    let filter = unit.lines().find_map(|line| line.strip_prefix("SystemCallFilter=")).expect("a filter");
    let allowed: BTreeSet<String> = filter.split(' ').flat_map(calls).collect();
    let refused: Vec<_> = used.difference(&allowed).collect();
    assert!(refused.is_empty(), "the unit refuses {refused:?}");
}
