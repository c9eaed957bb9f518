//! A new version of the agent is rolled out while a program leaks: no rate may show it.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tlsclose_tests::agent::Agent;
use tlsclose_tests::host::{needs, root};
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::prometheus::Prometheus;
use tlsclose_tests::{seconds, wait_for};

/// Sockets per second that the program leaks.
const LEAKS: f64 = 10.0;
/// Sockets that the second agent finds. If they were in a rate over 20 s, it would rise by 15 per second.
const HELD: f64 = 300.0;
/// All counters with the labels of a program, but those of what an agent has adopted.
const COUNTERS: [&str; 6] = [
    "tlsclose_lingered_sockets_total",
    "tlsclose_lingering_ended_total",
    "tlsclose_aborted_closes_total",
    "tlsclose_tls_closes_total",
    "tlsclose_tls_truncated_after_data_total",
    "tlsclose_process_emfile_errors_total",
];

#[test]
fn a_new_agent_under_a_leak_makes_no_spike_in_any_rate() {
    needs(&["prometheus"]);
    let namespace = Netns::new();
    let agent = Agent::start();
    let rules = format!("rule_files: ['{}']\n", root().join("deploy/prometheus/rules.yaml").display());
    let prometheus = Prometheus::start(agent.port(), &rules);
    let leak = ["--count", "2000", "--rate", "10", "--for", "150"];
    let leaky = Leaky::start(&namespace, Language::C, way_named("eof_forget"), &leak);
    let of_it = format!("{{comm=\"{}\"}}", leaky.comm);
    let value = |expression: &str| -> Option<f64> {
        let series = prometheus.query(expression)?;
        let value = |series: &serde_json::Value| series["value"][1].as_str()?.parse::<f64>().ok();
        series.iter().filter_map(value).reduce(f64::max)
    };
    let at_least = |what: &str, least: f64| {
        let expression = format!("sum({what}{of_it})");
        wait_for(&expression, seconds(60), || value(&expression).filter(|found| *found >= least))
    };
    let held = at_least("tlsclose_lingering_sockets", HELD);
    let before = value(&format!("sum(rate(tlsclose_lingered_sockets_total{of_it}[20s]))")).expect("a rate");
    assert!((LEAKS * 0.7..LEAKS * 1.3).contains(&before), "{before} per second");

    let agent = agent.replaced();
    at_least("tlsclose_adopted_sockets_total", HELD);
    // Until the window of the rates has left the restart behind, and the leak shows as before.
    let new = wait_for("the leak in the rate of the new agent", seconds(60), || {
        let new = agent.metrics().sum("tlsclose_lingered_sockets_total", &[("comm", &leaky.comm)])?;
        (new >= 25.0 * LEAKS).then_some(new)
    });
    let seen = |rates: &str| value(&format!("max_over_time(({rates})[150s:1s])"));
    for counter in COUNTERS {
        let most = seen(&format!("sum(rate({counter}{of_it}[20s]))")).unwrap_or(0.0);
        let expected = if counter == "tlsclose_lingered_sockets_total" { LEAKS } else { 0.0 };
        assert!((expected * 0.7..=expected * 1.3).contains(&most), "{counter}: up to {most} per second");
    }
    // Over 5 minutes, of which the program has been there for one: each socket once, and not twice.
    for recorded in ["instance_site", "workload"] {
        let most = seen(&format!("sum({recorded}:tlsclose_lingering_sockets:net_rate5m{of_it})")).expect("a rate");
        let sockets = 300.0 * most;
        assert!((0.8 * new..1.2 * (held + new)).contains(&sockets), "{recorded}: {sockets} of {held} and {new}");
    }
}

/// A probe of the kubelet waits for a second. What it leaves in the accept queue of an agent that loads its
/// programs is none of the sockets by which the agent checks itself.
#[test]
fn clients_that_give_up_while_it_starts_do_not_keep_it_from_starting() {
    let agent = Agent::start();
    let port = agent.port();
    let is_ready = AtomicBool::new(false);
    let agent = thread::scope(|scope| {
        scope.spawn(|| {
            // Few enough for all of them to be seen in the queue of a slow start.
            let mut waiting = VecDeque::new();
            for _ in (0..200).take_while(|_| !is_ready.load(Ordering::Relaxed)) {
                waiting.push_back(TcpStream::connect(("127.0.0.1", port)));
                if waiting.len() > 4 {
                    waiting.pop_front();
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        let agent = agent.replaced();
        is_ready.store(true, Ordering::Relaxed);
        agent
    });
    assert_eq!(agent.metrics().sum("tlsclose_feature", &[("feature", "self_check")]), Some(1.0));
}
