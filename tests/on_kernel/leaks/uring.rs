//! Sockets that io_uring accepted, which no accept hook sees: named by where they are used first.

use serde_json::Value;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::expect::wait_for_site;
use tlsclose_tests::leaky::{Language, Leaky, Way, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{frames_in, function, line_in};

const SOURCE: &str = "tests/leaky/c/uring.c";

/// A program that leaks 5 sockets from io_uring, and their site.
fn leak(agent: &Agent, namespace: &Netns, way: &str) -> (Leaky, Value) {
    let uring = Way { name: "uring", ..*way_named("eof_forget") };
    let arguments = ["--way", way, "--count", "5", "--for", "60"];
    let mut leaky = Leaky::start(namespace, Language::C, &uring, &arguments);
    leaky.ready();
    let site = wait_for_site(agent, &leaky, 5);
    (leaky, site)
}

/// How it was opened, by the program's own function and line.
fn opened(site: &Value) -> (&str, &str, Option<u64>) {
    let stack = frames_in(&site["opened"]["stack"], SOURCE);
    let frame = *stack.first().unwrap_or_else(|| panic!("no frame of its own: {site:#}"));
    (site["opened"]["call"].as_str().unwrap_or_default(), function(frame), frame["line"].as_u64())
}

fn line(what: &str) -> Option<u64> {
    Some(line_in(SOURCE, what))
}

#[test]
fn a_socket_that_io_uring_accepted_is_named_by_its_first_read_or_send() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let (_reads, site) = leak(&agent, &namespace, "read");
    assert_eq!(opened(&site), ("read", "uring_read", line("uring read")), "{site:#}");
    // From here on a process with a socket from io_uring, and with lingering ones, is known.
    let (_sends, site) = leak(&agent, &namespace, "send");
    assert_eq!(opened(&site), ("send", "uring_send", line("uring sent")), "{site:#}");
}
