//! Connections that end by a reset or an error: what ended them, and where they were closed.

use std::process::Command;

use serde_json::{Value, json};
use tlsclose_tests::agent::{Agent, tlsclose_command};
use tlsclose_tests::child::run;
use tlsclose_tests::expect::assert_at;
use tlsclose_tests::host::{kernel_version, needs, unique_comm};
use tlsclose_tests::leaky::{Language, Leaky, Way, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::list;
use tlsclose_tests::tls::{python, python_program};
use tlsclose_tests::{seconds, wait_for};

const SOURCE: &str = "tests/leaky/c/aborts.c";

const ABORTS: Way =
    Way { name: "aborts", kind: "aborted_close", state: "close", recv_queue: 0, is_client: false, touched: None };

fn start(namespace: &Netns, cause: &str, more: &[&str]) -> Leaky {
    let arguments = [&["--way", cause, "--count", "5", "--for", "60"], more].concat();
    Leaky::start(namespace, Language::C, &ABORTS, &arguments)
}

fn sites_of<'a>(report: &'a Value, comm: &str) -> Vec<&'a Value> {
    list(&report["aborted_sites"]).filter(|site| site["comm"] == comm).collect()
}

fn counted(agent: &Agent, comm: &str, cause: &str) -> f64 {
    let labels = [("comm", comm), ("cause", cause)];
    agent.metrics().sum("tlsclose_aborted_closes_total", &labels).unwrap_or(0.0)
}

/// All are of this cause, and closed at the line that is marked so.
fn assert_found(agent: &Agent, aborts: &mut Leaky, cause: &str, (name, marker): (&str, &str)) {
    let count = aborts.ready() as f64;
    let comm = aborts.comm.clone();
    wait_for(&format!("{count} of {cause}"), seconds(20), || (counted(agent, &comm, cause) >= count).then_some(()));
    agent.wait_for_censuses(3);
    let report = agent.leaks();
    let sites = sites_of(&report, &comm);
    assert!(sites.iter().all(|site| site["causes"] == json!({cause: site["aborted"]})), "{sites:#?}");
    assert_eq!(sites.iter().filter_map(|site| site["aborted"].as_f64()).sum::<f64>(), count, "{sites:#?}");
    // On a busy host not every stack is taken.
    let sampled: Vec<_> = sites.iter().filter(|site| site["site"] != "unsampled").collect();
    let [site] = sampled[..] else {
        panic!("{} sites of {cause}: {sites:#?}, with {} lost", sampled.len(), agent.lost())
    };
    assert_eq!(agent.metrics().sum("tlsclose_aborted_closes_total", &[("comm", &comm)]), Some(count));
    assert_eq!(site["processes"][0]["pid"], aborts.pid(), "{site:#}");
    assert_at(&site["closed"]["stack"], SOURCE, name, marker);
    assert_eq!(sites_of(&report, "").iter().filter(|site| site["closed"] != Value::Null).count(), 0);
}

const CLOSED: (&str, &str) = ("abort_close", "aborts closed");

#[test]
fn resets_by_the_programs_own_calls_are_told_apart() {
    let agent = Agent::shared();
    let causes = [
        ("unread_data", CLOSED),
        ("linger_zero", CLOSED),
        ("disconnect", ("abort_disconnect", "aborts disconnected")),
        ("listener_closed", CLOSED),
        ("linger2", CLOSED),
    ];
    let usual = causes.map(|(cause, place)| (cause, &[] as &[&str], place));
    // The name is the process's, whatever its threads are called.
    let others = [("unread_data", &["--family", "6"] as &[&str], CLOSED), ("linger_zero", &["--threads", "1"], CLOSED)];
    let runs: Vec<_> = usual.into_iter().chain(others).collect();
    let namespaces: Vec<Netns> = runs.iter().map(|_| Netns::new()).collect();
    let start = |((cause, more, place), namespace)| (cause, start(namespace, cause, more), place);
    let started: Vec<_> = runs.into_iter().zip(&namespaces).map(start).collect();
    for (cause, mut aborts, place) in started {
        assert_found(&agent, &mut aborts, cause, place);
    }
}

#[test]
fn a_reset_by_the_peer_is_counted_when_the_program_closes() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    // Each close follows the reset at once: some are on their way already when it changes the socket's state.
    assert_found(&agent, &mut start(&namespace, "peer_reset", &["--count", "1000"]), "peer_reset", CLOSED);
}

#[test]
fn timeouts_of_keepalive_and_of_retransmissions_are_told_apart() {
    let agent = Agent::shared();
    let namespaces = [Netns::new(), Netns::new()];
    let causes = ["keepalive_timeout", "retransmission_timeout"];
    let started = [0, 1].map(|at| start(&namespaces[at], causes[at], &[]));
    for (cause, mut aborts) in causes.into_iter().zip(started) {
        assert_found(&agent, &mut aborts, cause, CLOSED);
    }
}

#[test]
fn connections_that_somebody_destroys_are_no_fault_of_the_peer() {
    needs(&["ss"]);
    let namespace = Netns::new();
    let agent = Agent::shared();
    let mut aborts = start(&namespace, "destroyed", &[]);
    aborts.child().wait_for_line("connected ", seconds(10));
    let port = aborts.port().to_string();
    let kill = run(namespace.command("ss").args(["-K", "-t", "sport", "=", &port]), seconds(10));
    assert_eq!(kill.code, Some(0), "{}", kill.stderr);
    assert_found(&agent, &mut aborts, "destroyed", CLOSED);
}

/// Before 6.10 the kernel traced no reset of what a closed socket leaves behind in FIN_WAIT_2 and TIME_WAIT.
#[test]
fn data_for_a_socket_that_was_closed_is_nobodys_any_more() {
    if kernel_version() < (6, 10) {
        return;
    }
    let namespace = Netns::new();
    let agent = Agent::shared();
    let before = counted(&agent, "", "data_after_close");
    let mut aborts = start(&namespace, "data_after_close", &[]);
    aborts.ready();
    wait_for("5 resets", seconds(20), || (counted(&agent, "", "data_after_close") >= before + 5.0).then_some(()));
    // The program itself closed in order.
    assert_eq!(agent.metrics().sum("tlsclose_aborted_closes_total", &[("comm", &aborts.comm)]), None);
}

/// As with a socket that a census holds when the program closes it: the last to let go is no closer.
#[test]
fn who_lets_go_of_a_socket_in_a_read_has_not_aborted_it() {
    needs(&["python3"]);
    const COUNT: u32 = 5;
    let namespace = Netns::new();
    let agent = Agent::shared();
    let before = counted(&agent, "", "linger_zero");
    let comm = unique_comm();
    let mut closes = namespace.command(python());
    let ended = run(closes.arg(python_program("closed_in_read.py")).args([&comm, &COUNT.to_string()]), seconds(20));
    assert_eq!(ended.stdout, "done\n", "{}", ended.stderr);
    let after = before + f64::from(COUNT);
    wait_for("the resets", seconds(20), || (counted(&agent, "", "linger_zero") >= after).then_some(()));
    // The peer is the same process.
    assert_eq!(counted(&agent, &comm, "linger_zero"), 0.0);
    assert_eq!(counted(&agent, &comm, "peer_reset"), f64::from(COUNT));
}

#[test]
fn connections_that_end_in_order_are_not_aborted() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let arguments = ["--count", "300", "--healthy", "--for", "30"];
    let mut healthy = Leaky::start(&namespace, Language::C, way_named("eof_forget"), &arguments);
    healthy.ready();
    agent.wait_for_censuses(2);
    assert_eq!(agent.metrics().sum("tlsclose_aborted_closes_total", &[("comm", &healthy.comm)]), None);
}

#[test]
fn leaks_shows_them_when_asked_for_that_kind() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let mut aborts = start(&namespace, "linger_zero", &[]);
    assert_found(&agent, &mut aborts, "linger_zero", CLOSED);
    let socket = agent.socket();
    let table = |arguments: &[&str]| {
        let mut command: Command = tlsclose_command(&["leaks", "--socket"]);
        run(command.arg(&socket).args(arguments), seconds(10)).stdout
    };
    let shown = table(&["--kind", "aborted_close", "-c", &aborts.comm]);
    for part in ["aborted_close  ", " connections", "linger_zero ", "abort_close", "with SO_LINGER at 0"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let other = table(&["--kind", "fin_wait2_held", "-c", &aborts.comm]);
    assert!(other.contains("no lingering sockets") && !other.contains("aborted_close"), "{other}");
}
