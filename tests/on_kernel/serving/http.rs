//! The API: what it answers, what it refuses, and who may see what.

use tlsclose_tests::agent::Agent;
use tlsclose_tests::expect::wait_for_site;
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{process_of, sites_of, sockets_of};

use crate::{agent_and_leak, shared_agent_and_leak};

#[test]
fn health_and_mistakes_get_the_right_status() {
    let agent = Agent::shared();
    for server in [agent.tcp(), agent.owner()] {
        let status = |method: &str, path: &str| {
            let answer = server.request(method, path, &[]).unwrap();
            if answer.status >= 400 {
                let error = answer.json();
                assert!(error["error"].is_string(), "{method} {path}: {}", answer.body);
                assert_eq!(answer.body.trim_end().lines().count(), 1, "one line");
            }
            answer.status
        };
        assert_eq!(status("GET", "/healthz"), 200);
        assert_eq!(status("GET", "/readyz"), 200);
        assert_eq!(status("GET", "/api/v1/doctor"), 200);
        assert_eq!(status("GET", "/"), 200);
        assert_eq!(status("GET", "/no/such/path"), 404);
        assert_eq!(status("POST", "/api/v1/leaks"), 405);
        assert_eq!(status("DELETE", "/metrics"), 405);
        assert_eq!(status("GET", "/api/v1/leaks?limit=many"), 400);
        assert_eq!(status("GET", "/api/v1/leaks?kind=no_such_kind"), 400);
        assert_eq!(status("GET", "/api/v1/leaks?colour=red"), 400);
    }
}

#[test]
fn a_web_page_cannot_reach_it_by_a_name_of_its_own() {
    let agent = Agent::shared();
    for path in ["/metrics", "/api/v1/leaks", "/healthz"] {
        let answer = agent.tcp().request("GET", path, &[("Host", "evil.example")]).unwrap();
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.status);
        assert!(!answer.body.contains("tlsclose_") && !answer.body.contains("sites"), "{path}");
        let answer = agent.tcp().request("GET", path, &[("Host", "localhost")]).unwrap();
        assert_eq!(answer.status, 200, "{path}");
    }
}

#[test]
fn oversized_and_broken_requests_are_refused() {
    let agent = Agent::shared();
    let long = format!("/api/v1/leaks?comm={}", "a".repeat(200_000));
    let answer = agent.tcp().exchange(format!("GET {long} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    if let Ok(answer) = answer {
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:.100}");
    }
    let answer = agent.tcp().exchange(b"\x16\x03\x01 no HTTP at all\r\n\r\n");
    assert!(answer.is_err() || answer.is_ok_and(|answer| !answer.starts_with(b"HTTP/1.1 2")));
    assert_eq!(agent.tcp().get("/healthz").unwrap().status, 200, "it lives on");
}

#[test]
fn only_the_owner_sees_addresses_files_and_command_lines() {
    let namespace = Netns::new();
    let (agent, mut leaky) = agent_and_leak(&namespace, &["--show-cmdline"]);
    let address = format!("127.0.0.1:{}", leaky.port());
    let details = [&*address, "ways.c", "--count"];
    let full = agent.owner().get("/api/v1/leaks").unwrap();
    let reduced = agent.tcp().get("/api/v1/leaks").unwrap();
    for detail in details {
        assert!(full.body.contains(detail), "the owner sees {detail}: {}", full.body);
        assert!(!reduced.body.contains(detail), "others do not see {detail}: {}", reduced.body);
    }
    let report = reduced.json();
    assert_eq!(sockets_of(&report, leaky.pid()), 4, "counts stay");
    let site = sites_of(&report, leaky.pid())[0];
    assert_eq!(site["kind"], "close_wait_eof_read");
    assert_eq!(process_of(site, leaky.pid()).expect("a process")["comm"], *leaky.comm);
}

#[test]
fn the_api_selects() {
    let namespace = Netns::new();
    let (agent, leaky) = shared_agent_and_leak(&namespace);
    let arguments = ["--count", "3", "--for", "60"];
    let mut other = Leaky::start(&namespace, Language::C, way_named("half_close"), &arguments);
    other.ready();
    wait_for_site(&agent, &other, 3);
    let count = |query: &str, pid: u32| sockets_of(&agent.get(&format!("/api/v1/leaks?{query}")).json(), pid);
    let (one, two) = (leaky.pid(), other.pid());
    for (query, ones, twos) in [
        (format!("pid={one}"), 4, 0),
        (format!("comm={}", other.comm), 0, 3),
        ("kind=fin_wait2_held".to_owned(), 0, 3),
        (format!("kind=fin_wait2_held&pid={one}"), 0, 0),
    ] {
        assert_eq!((count(&query, one), count(&query, two)), (ones, twos), "{query}");
    }
    let limited = agent.get("/api/v1/leaks?limit=1").json();
    assert_eq!(limited["sites"].as_array().map(Vec::len), Some(1));
}
