//! Sockets that a service manager made: the service got them by socket activation.

use std::process::Command;

use serde_json::Value;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::child::Child;
use tlsclose_tests::expect::assert_at;
use tlsclose_tests::host::{leaky_c, needs, tool};
use tlsclose_tests::leaky::{Language, Leaky, Way};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::list;
use tlsclose_tests::{seconds, wait_for};

const ACTIVATE: &str = "systemd-socket-activate";
const SOURCE: &str = "tests/leaky/c/activated.c";
/// In a namespace of the test's own.
const PORT: &str = "8087";

const ACTIVATED: Way = Way {
    name: "activated",
    kind: "close_wait_eof_read",
    state: "close_wait",
    recv_queue: 0,
    is_client: false,
    touched: None,
};

/// A manager that listens and starts the service when somebody connects, and so many who do, say a word and close.
fn start(namespace: &Netns, flags: &[&str], way: &str, accepted: &str, connections: &str) -> (Leaky, Child) {
    let arguments = ["--way", way, "--count", accepted, "--for", "60"];
    let service = Leaky::start_by(Language::C, &ACTIVATED, &arguments, |program| -> Command {
        let mut command = namespace.command(tool(ACTIVATE));
        command.args(flags).args(["--listen", &format!("127.0.0.1:{PORT}")]).arg(program);
        command
    });
    namespace.wait_for_listener(PORT.parse().expect("a port"));
    let arguments = ["peer", "--way", "eof_forget", "--count", connections, "--port", PORT, "--for", "60"];
    let clients = Child::spawn(namespace.command(leaky_c()).args(arguments));
    (service, clients)
}

/// The sites of the service's program.
fn sites<'a>(report: &'a Value, service: &Leaky) -> Vec<&'a Value> {
    list(&report["sites"]).filter(|site| site["processes"][0]["comm"] == *service.comm).collect()
}

fn find<'a>(report: &'a Value, service: &Leaky, kind: &str, sockets: u64) -> Option<&'a Value> {
    sites(report, service).into_iter().find(|site| site["kind"] == kind && site["sockets"] == sockets)
}

fn pids(holders: &Value) -> Vec<u64> {
    let mut pids: Vec<u64> = list(holders).filter_map(|holder| holder["pid"].as_u64()).collect();
    pids.sort_unstable();
    pids
}

/// The PIDs in a line `helper N of M`.
fn helper_and_service(line: &str) -> (u64, u64) {
    let (helper, service) = line.split_once(" of ").expect("both");
    (helper.parse().expect("a PID"), service.parse().expect("a PID"))
}

#[test]
fn a_service_with_an_inherited_listener_and_its_helper_are_named_as_holders() {
    needs(&[ACTIVATE]);
    let namespace = Netns::new();
    let agent = Agent::shared();
    let (mut service, _clients) = start(&namespace, &[], "listener", "5", "8");
    service.ready();
    let (helper, pid) = helper_and_service(&service.child().wait_for_line("helper ", seconds(1)));
    assert_eq!(pid, u64::from(service.pid()), "the manager becomes the service");
    let mut both = vec![pid, helper];
    both.sort_unstable();
    let report = agent.wait_for("5 forgotten and 3 not accepted", seconds(20), |report| {
        let counts = [("close_wait_eof_read", 5), ("close_wait_not_accepted", 3)];
        counts.iter().all(|(kind, sockets)| find(report, &service, kind, *sockets).is_some())
    });
    assert_eq!(sites(&report, &service).len(), 2, "{report:#}");
    let forgotten = find(&report, &service, "close_wait_eof_read", 5).expect("a site");
    assert_at(&forgotten["opened"]["stack"], SOURCE, "activated_accept", "activated accepted");
    assert_at(&forgotten["touched"]["stack"], SOURCE, "activated_read", "activated read");
    assert_eq!(list(&forgotten["examples"]).count(), 5, "{forgotten:#}");
    for example in list(&forgotten["examples"]) {
        assert_eq!(pids(&example["holders"]), both, "{forgotten:#}");
    }
    let waiting = find(&report, &service, "close_wait_not_accepted", 3).expect("a site");
    let [queue] = &list(&waiting["accept_queues"]).collect::<Vec<_>>()[..] else { panic!("{waiting:#}") };
    assert_eq!((&queue["length"], pids(&queue["holders"])), (&3.into(), both), "{waiting:#}");
    assert!(list(&queue["holders"]).all(|holder| holder["fd"] == 3), "as it was passed: {waiting:#}");
    assert_at(&waiting["touched"]["stack"], SOURCE, "activated_accept", "activated accepted");
}

#[test]
fn a_connection_that_a_manager_accepted_is_its_services_and_names_who_holds_it_after_the_close() {
    needs(&[ACTIVATE]);
    let namespace = Netns::new();
    let agent = Agent::shared();
    let (service, _clients) = start(&namespace, &["--accept"], "connection", "1", "5");
    let lines = wait_for("5 services", seconds(20), || {
        let stdout = service.stdout();
        let lines: Vec<_> =
            stdout.lines().filter_map(|line| line.strip_prefix("helper ")).map(helper_and_service).collect();
        (lines.len() == 5).then_some(lines)
    });
    let report = agent.wait_for("5 sockets", seconds(20), |report| {
        sites(report, &service).iter().filter_map(|site| site["sockets"].as_u64()).sum::<u64>() == 5
    });
    let mut found = Vec::new();
    for site in sites(&report, &service) {
        assert_eq!(site["kind"], "close_wait_shared_fd", "{site:#}");
        let elsewhere = &site["closed_elsewhere"];
        assert!(lines.iter().any(|(_, service)| elsewhere["pid"] == *service), "{site:#}");
        assert_at(&elsewhere["stack"], SOURCE, "activated_close", "activated closed");
        found.extend(list(&site["examples"]).map(|example| pids(&example["holders"])));
    }
    let mut helpers: Vec<_> = lines.iter().map(|(helper, _)| vec![*helper]).collect();
    helpers.sort();
    found.sort();
    assert_eq!(found, helpers, "each by its helper, and none by the manager: {report:#}");
}
