//! The counts are exact, whatever else happens on the host.

use std::fs;
use std::process::Command;

use serde_json::Value;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::child::run;
use tlsclose_tests::host::{on_kernel, tool};
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{list, sockets_of};
use tlsclose_tests::seconds;

/// `TLSCLOSE_TEST_CONNECTIONS=1000000` makes it the test of the documentation; it takes minutes.
fn connections() -> u64 {
    std::env::var("TLSCLOSE_TEST_CONNECTIONS").ok().and_then(|number| number.parse().ok()).unwrap_or(60_000)
}

const LEAKS: u64 = 1000;
const PER_SECOND: u64 = 4000;

fn total(report: &Value, pid: u32, field: &str) -> u64 {
    let has = |site: &&Value| list(&site["processes"]).any(|process| process["pid"] == pid);
    list(&report["sites"]).filter(has).filter_map(|site| site[field].as_u64()).sum()
}

#[test]
fn a_thousand_leaks_in_a_churn_are_a_thousand_also_for_an_agent_that_comes_later() {
    if !on_kernel(&["sysctl"]) {
        return;
    }
    let namespace = Netns::new();
    let ports = run(namespace.command("sysctl").args(["-w", "net.ipv4.ip_local_port_range=1024 65535"]), seconds(10));
    assert_eq!(ports.code, Some(0), "{ports:?}");
    let first = Agent::start();
    let count = connections();
    let (count_text, every) = (count.to_string(), (count / LEAKS).to_string());
    let (rate, span) = (PER_SECOND.to_string(), (60 + 4 * count / PER_SECOND).to_string());
    let arguments = ["--count", &count_text, "--rate", &rate, "--leak-every", &every, "--for", &span];
    let leaky = Leaky::start(&namespace, Language::C, way_named("eof_forget"), &arguments);
    let pid = leaky.pid();
    let allowed = seconds(30 + 3 * count / PER_SECOND);
    first.wait_for("half of the leaks", allowed, |report| sockets_of(report, pid) >= LEAKS / 2);
    let later = Agent::start();
    for agent in [&first, &later] {
        agent.wait_for("all leaks", allowed, |report| sockets_of(report, pid) >= LEAKS);
        agent.wait_for_censuses(4);
    }
    for (agent, from_the_start) in [(&first, true), (&later, false)] {
        let report = agent.leaks();
        assert_eq!(sockets_of(&report, pid), LEAKS, "{report:#}");
        let (lingered, adopted) = (total(&report, pid, "lingered"), total(&report, pid, "adopted"));
        assert_eq!(lingered + adopted, LEAKS, "{lingered} and {adopted}");
        assert_eq!(adopted == 0, from_the_start, "{adopted}");
        assert_eq!(report["complete"], true, "{report:#}");
    }
}

/// The namespaces' own PIDs of a process, outermost first.
fn pids(pid: u64) -> Vec<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:")).expect("NSpid");
    line.split_whitespace().map(|pid| pid.parse().expect("a PID")).collect()
}

#[test]
fn a_process_in_nested_namespaces_has_the_hosts_pid_and_its_own() {
    if !on_kernel(&["unshare"]) {
        return;
    }
    let namespace = Netns::new();
    let agent = Agent::start();
    let arguments = ["--count", "5", "--for", "40"];
    let mut leaky = Leaky::start_by(Language::C, way_named("client_forget"), &arguments, |program| -> Command {
        let mut command = namespace.command(tool("unshare"));
        command.args(["--pid", "--fork", "--kill-child"]);
        command.args(["unshare", "--pid", "--mount", "--user", "--map-root-user", "--fork", "--kill-child"]);
        command.arg("--mount-proc").arg(program);
        command
    });
    leaky.ready();
    let comm = leaky.comm.clone();
    let process_of = |report: &Value| {
        let mut all = list(&report["sites"]).flat_map(|site| list(&site["processes"]));
        all.find(|process| process["comm"] == comm && process["sockets"] == 5).cloned()
    };
    let report = agent.wait_for("5 sockets", seconds(20), |report| process_of(report).is_some());
    let process = process_of(&report).expect("its process");
    let pid = process["pid"].as_u64().expect("a PID");
    let pids = pids(pid);
    assert_eq!(pids.len(), 3, "{pids:?}");
    assert_eq!((pids[0], Some(pids[2])), (pid, process["ns_pid"].as_u64()), "{process:#}");
    assert_eq!(process["exe"], leaky.executable().to_str().expect("UTF-8"), "{process:#}");
}
