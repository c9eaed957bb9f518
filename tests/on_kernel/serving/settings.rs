//! Flags of the agent that no other test needs.

use serde_json::Value;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::expect::wait_for_site;
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::metrics::Metrics;
use tlsclose_tests::netns::Netns;

#[test]
fn metrics_and_log_are_where_and_as_they_were_asked_for() {
    let agent = Agent::start_with(&["--web.telemetry-path=/its/metrics", "--log.format=json", "--log.level=info"]);
    let metrics = Metrics::parse(&agent.get("/its/metrics").body);
    assert!(metrics.sum("tlsclose_build_info", &[]).is_some());
    assert_eq!(agent.owner().get("/metrics").expect("an answer").status, 404);
    let log = agent.stderr();
    let said: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let first = said.iter().find(|line| line["level"] == "info").expect("a line");
    assert!(first["message"].as_str().is_some_and(|message| message.contains("/its/metrics")), "{log}");
    assert!(first["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{log}");
}

/// What is not sampled is counted, found, and said to be lost.
#[test]
fn fewer_stacks_make_no_fewer_leaks() {
    const SOCKETS: u64 = 1_000;
    let namespace = Netns::new();
    let agent = Agent::start_with(&["--max-stacks-per-second=1"]);
    let lost = |agent: &Agent| {
        let labels = [("what", "stacks"), ("reason", "budget")];
        agent.metrics().sum("tlsclose_lost_total", &labels).expect("a counter")
    };
    let before = lost(&agent);
    let count = SOCKETS.to_string();
    let mut leaky = Leaky::start(&namespace, Language::C, way_named("eof_forget"), &["--count", &count, "--for", "60"]);
    assert_eq!(leaky.ready(), SOCKETS);
    let site = wait_for_site(&agent, &leaky, SOCKETS);
    assert!(site["stack_samples"].as_u64().is_some_and(|samples| samples < SOCKETS / 2), "{site:#}");
    assert!(lost(&agent) - before > SOCKETS as f64 / 2.0, "{}", agent.lost());
}
