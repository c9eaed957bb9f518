//! Threads that burn a core around connections that are over are named; busy ones are not.

use serde_json::Value;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::child::{Child, copy_of};
use tlsclose_tests::expect::assert_at;
use tlsclose_tests::host::{leaky_tls, unique_comm};
use tlsclose_tests::leaky::{Language, Leaky, Way};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{function, list, sites_of};
use tlsclose_tests::seconds;

const SOURCE: &str = "tests/leaky/c/spins.c";
const SPINNING: &str = "tlsclose_spinning_sockets";

const fn spins(kind: &'static str) -> Way {
    Way { name: "spins", kind, state: "close_wait", recv_queue: 0, is_client: false, touched: None }
}

fn start(namespace: &Netns, way: &str, kind: &'static str) -> Leaky {
    let mut leaky = Leaky::start(namespace, Language::C, &spins(kind), &["--way", way, "--count", "3", "--for", "60"]);
    leaky.ready();
    leaky
}

/// The site of this kind, once all its sockets linger.
fn lingering(report: &Value, pid: u32, kind: &str, sockets: u64) -> Option<Value> {
    let is_so = |site: &&&Value| site["kind"] == kind && site["sockets"] == sockets;
    sites_of(report, pid).iter().find(is_so).map(|site| (*site).clone())
}

fn wait_for_spin(agent: &Agent, pid: u32, kind: &str, sockets: u64) -> Value {
    let spins = |report: &Value| lingering(report, pid, kind, sockets).filter(|site| site["spinning"].is_object());
    let report = agent.wait_for("a spin", seconds(30), |report| spins(report).is_some());
    spins(&report).expect("a site that spins")
}

/// Long enough for a spin to be found, and none is.
fn assert_no_spin(agent: &Agent, pid: u32, comm: &str, kind: &str, sockets: u64) {
    agent.wait_for("its sockets", seconds(30), |report| lingering(report, pid, kind, sockets).is_some());
    for _ in 0..8 {
        agent.wait_for_censuses(1);
        let report = agent.leaks();
        let sites = sites_of(&report, pid);
        assert!(!sites.is_empty() && sites.iter().all(|site| site["spinning"].is_null()), "{sites:#?}");
        assert_eq!(agent.metrics().sum(SPINNING, &[("comm", comm)]), Some(0.0));
    }
}

#[test]
fn loops_that_never_end_are_named_with_their_thread_and_line() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let read = ("close_wait_eof_read", "read", "spin_read", "spins read");
    let polled = ("close_wait_unread", "epoll_wait", "spin_poll", "spins polled");
    for (way, (kind, call, name, marker)) in [("read", read), ("asks", polled), ("told", polled)] {
        let spinning = start(&namespace, way, kind);
        let site = wait_for_spin(&agent, spinning.pid(), kind, 3);
        let spin = &site["spinning"];
        assert_eq!((&spin["pid"], &spin["tid"]), (&spinning.pid().into(), &spinning.pid().into()), "{site:#}");
        assert_eq!(spin["call"], call, "{way}: {site:#}");
        assert!(spin["per_second"].as_f64() >= Some(100.0), "{way}: {site:#}");
        assert_at(&spin["stack"], SOURCE, name, marker);
        let why = site["why"].as_str().unwrap_or_default();
        assert!(why.contains(&format!("Thread {0} of {0} ", spinning.pid())), "{why}");
        assert_eq!(agent.metrics().sum(SPINNING, &[("comm", &spinning.comm)]), Some(3.0), "{way}");
    }
}

#[test]
fn loops_that_wait_or_work_are_not_accused() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let ways = [
        ("busy", "close_wait_unread"),
        ("rests", "close_wait_unread"),
        ("elsewhere", "close_wait_unread"),
        ("seldom", "close_wait_eof_read"),
    ];
    let programs = ways.map(|(way, kind)| start(&namespace, way, kind));
    for ((way, kind), healthy) in ways.into_iter().zip(&programs) {
        println!("{way}");
        assert_no_spin(&agent, healthy.pid(), &healthy.comm, kind, 3);
    }
}

/// A TLS client on tokio: its program's copy must live as long.
fn start_tls(namespace: &Netns, program: &str, runtime: &str) -> (Child, String, tempfile::TempDir) {
    let comm = unique_comm();
    let (directory, program) = copy_of(&leaky_tls(program), &comm);
    let mut child = Child::spawn(namespace.command(&program).args([runtime, "--for", "60"]));
    child.wait_for_line("reading", seconds(10));
    (child, comm, directory)
}

#[test]
fn the_tokio_rustls_spin_is_named_and_the_fixed_version_does_not_spin() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    for runtime in ["current", "multi"] {
        let (child, comm, _directory) = start_tls(&namespace, "tls-spinning", runtime);
        let site = wait_for_spin(&agent, child.pid(), "close_wait_unread", 1);
        let spin = &site["spinning"];
        assert_eq!((&spin["pid"], &spin["call"]), (&child.pid().into(), &"epoll_wait".into()), "{site:#}");
        let tid = spin["tid"].as_u64().expect("a thread");
        assert!(std::path::Path::new(&format!("/proc/{}/task/{tid}", child.pid())).exists(), "{site:#}");
        let functions: Vec<&str> = list(&spin["stack"]).map(function).collect();
        assert_eq!(functions.first(), Some(&"epoll_wait"), "{site:#}");
        assert!(functions.len() > 5, "the stack of the runtime: {site:#}");
        assert_eq!(site["examples"][0]["recv_queue"], 1, "the FIN: {site:#}");
        assert_eq!(agent.metrics().sum(SPINNING, &[("comm", &comm)]), Some(1.0), "{runtime}");
    }
    let (mut child, comm, _directory) = start_tls(&namespace, "tls-fixed", "current");
    child.wait_for_line("ended Ok(6)", seconds(10));
    assert_no_spin(&agent, child.pid(), &comm, "close_wait_unread", 1);
}
