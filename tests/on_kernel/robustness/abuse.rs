//! Clients that mean harm: the agent stays small, answers others, and goes on watching.

use std::fs;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketAddrV4, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tlsclose_tests::agent::Agent;
use tlsclose_tests::expect::wait_for_site;
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::{seconds, wait_for};

/// Connections that are served at once.
const PLACES: usize = 256;
/// What all of them together may cost: each has 16 KiB of head at most.
const MAY_GROW_KIB: u64 = 16 * 1024;

/// Forgets what loading the programs took: that peak would hide a flood's (proc(5), clear_refs). Gives what is left, in KiB.
fn forget_peak(agent: &Agent) -> u64 {
    fs::write(format!("/proc/{}/clear_refs", agent.pid()), "5").expect("its peak");
    peak(agent)
}

/// The most memory that the agent has had since, in KiB.
fn peak(agent: &Agent) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

fn assert_still_small(agent: &Agent, before: u64) {
    let after = peak(agent);
    assert!(after <= before + MAY_GROW_KIB, "{before} KiB before, {after} KiB after");
}

/// A connection that need not be there yet.
fn connect(port: u16) -> OwnedFd {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).expect("a socket");
    // In progress, as a rule.
    let _ = rustix::net::connect(&socket, &SocketAddrV4::new([127, 0, 0, 1].into(), port));
    socket
}

#[test]
fn ten_thousand_slow_clients_do_not_stop_the_watch() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("descriptors");
    let namespace = Netns::new();
    let agent = Agent::start();
    agent.wait_for_censuses(2);
    let _ = agent.tcp().get("/metrics").expect("metrics");
    let before = forget_peak(&agent);

    let clients: Vec<OwnedFd> = (0..10_000).map(|_| connect(agent.port())).collect();
    let drip = |bytes: &[u8]| {
        for client in &clients {
            // Many are not in, or cut off already.
            let _ = rustix::io::write(client, bytes);
        }
    };
    wait_for("every place to be taken", seconds(20), || {
        drip(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow: ");
        let descriptors = fs::read_dir(format!("/proc/{}/fd", agent.pid())).expect("its descriptors").count();
        (descriptors > PLACES).then_some(())
    });
    let mut leaky = Leaky::start(&namespace, Language::C, way_named("eof_forget"), &["--count", "4", "--for", "60"]);
    leaky.ready();
    for _ in 0..10 {
        drip(b"a");
        std::thread::sleep(seconds(1) / 5);
    }
    // The owner has a door of its own.
    wait_for_site(&agent, &leaky, 4);
    drip(b"a");
    assert_still_small(&agent, before);
    drop(clients);
    setrlimit(Resource::Nofile, limit).expect("descriptors");
    let answer = wait_for("an answer over TCP", seconds(30), || agent.tcp().get("/healthz").ok());
    assert_eq!(answer.status, 200);
    assert_still_small(&agent, before);
}

#[test]
fn a_megabyte_of_headers_is_cut_off() {
    let agent = Agent::start();
    let before = forget_peak(&agent);
    let heads = [
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n", "a".repeat(1 << 20)),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(200_000)),
        format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(1 << 20)),
        "a".repeat(1 << 20),
    ];
    for head in heads.iter().cycle().take(40) {
        // The answer, or a reset because not all was read.
        if let Ok(answer) = agent.tcp().exchange(head.as_bytes()) {
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:.100}");
        }
    }
    assert_still_small(&agent, before);
    assert_eq!(agent.tcp().get("/healthz").expect("an answer").status, 200);
}

fn answer_to(agent: &Agent, request: &str) -> String {
    let answer = agent.tcp().exchange(request.as_bytes()).unwrap_or_default();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn no_path_leads_anywhere_else() {
    let agent = Agent::start();
    let long = format!("/{}", "../".repeat(3000));
    for path in [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/page.js/../../etc/passwd",
        "/static/../metrics",
        "//metrics",
        "/metrics/",
        "/metrics%00",
        "/metrics;x=1",
        "/METRICS",
        "/api/v1/leaks/",
        "/api/v1/../v1/leaks",
        "/api/v1/leaks?limit=-1",
        "/api/v1/leaks?limit=99999999999999999999",
        "/api/v1/leaks?pid=1&pid=2",
        "*",
        "metrics",
        "/\u{1b}[2J",
        &long,
    ] {
        let answer = answer_to(&agent, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer:.200}");
        assert!(
            !answer.contains("root:") && !answer.contains("tlsclose_") && !answer.contains('\u{1b}'),
            "{path}: {answer}"
        );
    }
    assert_eq!(agent.tcp().get("/healthz").expect("an answer").status, 200);
}

#[test]
fn no_head_leads_anywhere_else() {
    let agent = Agent::start();
    // Another host's name in the request line, two hosts, none, and a tunnel.
    for head in [
        "GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost",
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example",
        "GET /metrics HTTP/1.1\r\nX: y",
        "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example",
        "TRACE /metrics HTTP/1.1\r\nHost: localhost",
        "PRI * HTTP/2.0",
        "GET /metrics HTTP/9.9\r\nHost: localhost",
    ] {
        let answer = answer_to(&agent, &format!("{head}\r\n\r\n"));
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{head}: {answer:.200}");
        assert!(!answer.contains("tlsclose_"), "{head}: {answer:.200}");
    }
    // One connection carries one request, whatever a proxy before it believed.
    let smuggled = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for head in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", smuggled.len()),
        "Content-Length: 0\r\n\r\n".to_owned(),
        "\r\n".to_owned(),
    ] {
        let answer = answer_to(&agent, &format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{head}{smuggled}"));
        assert!(answer.matches("HTTP/1.1 ").count() <= 1 && !answer.contains("tlsclose_"), "{head}: {answer}");
    }
    assert_eq!(agent.tcp().get("/healthz").expect("an answer").status, 200);
}
