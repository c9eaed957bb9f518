//! Who is said to have closed a socket in vain has closed this one, and not another.

use std::fs;

use tempfile::TempDir;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::child::Child;
use tlsclose_tests::host::{needs, root, tool};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{sites_of, sockets_of};
use tlsclose_tests::seconds;

const COUNT: u64 = 20;

/// Nobody has called close() on what this program leaks.
fn leaks_without_a_close(way: &str) {
    needs(&["python3"]);
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let mut python = namespace.command(tool("python3"));
    let directory = TempDir::new().expect("a directory");
    let go = directory.path().join("go");
    python.arg(root().join("tests/leaky/python/closers.py")).args([way, &COUNT.to_string(), "60"]).arg(&go);
    let mut python = Child::spawn(&mut python);
    python.wait_for_line("listening", seconds(20));
    // Calls of processes that a census has met with a socket are looked at.
    agent.wait_for_censuses(2);
    fs::write(&go, "").expect("a file");
    assert_eq!(python.wait_for_line("ready ", seconds(20)), COUNT.to_string());
    agent.wait_for("its sockets", seconds(20), |report| sockets_of(report, python.pid()) >= COUNT);
    let report = agent.leaks();
    for site in sites_of(&report, python.pid()) {
        assert_eq!(site["kind"], "close_wait_eof_read", "{site:#}");
        assert!(site["closed_elsewhere"].is_null(), "{site:#}");
    }
    assert_eq!(sockets_of(&report, python.pid()), COUNT, "{report:#}");
}

#[test]
fn a_close_in_vain_of_an_earlier_client_of_the_same_server_is_no_evidence() {
    leaks_without_a_close("address");
}

#[test]
fn a_dup2_that_fails_closes_nothing() {
    leaks_without_a_close("dup2");
}
