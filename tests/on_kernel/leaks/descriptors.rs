//! How near a leaking process is to its last descriptor, and what happens there.

use serde_json::Value;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::leaky::{Language, Leaky, Way};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{list, process_of, sites_of, sockets_of};
use tlsclose_tests::seconds;

const EXHAUSTED: Way = Way {
    name: "exhausted",
    kind: "close_wait_eof_read",
    state: "close_wait",
    recv_queue: 0,
    is_client: false,
    touched: None,
};

fn of_kind<'a>(report: &'a Value, pid: u32, kind: &str) -> Option<&'a Value> {
    sites_of(report, pid).into_iter().find(|site| site["kind"] == kind)
}

#[test]
fn a_process_without_descriptors_leaves_the_rest_in_its_accept_queue() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let arguments = ["--processes", "24", "--count", "40", "--for", "60"];
    let mut leaky = Leaky::start(&namespace, Language::C, &EXHAUSTED, &arguments);
    let held = leaky.ready();
    assert!((10..24).contains(&held), "{held}");
    let pid = leaky.pid();
    let report = agent.wait_for("all 40 sockets", seconds(20), |report| sockets_of(report, pid) == 40);
    let read = of_kind(&report, pid, "close_wait_eof_read").expect("what it forgot");
    assert_eq!((&read["sockets"], &read["status"]), (&held.into(), &"leaking".into()), "{read:#}");
    let process = process_of(read, pid).expect("its process");
    assert_eq!((&process["max_fds"], &process["fds_exhausted_in_seconds"]), (&24.into(), &0.0.into()), "{process:#}");
    // One that it was started with may lie above the limit.
    assert!((24..=26).contains(&process["open_fds"].as_u64().expect("a number")), "{process:#}");
    assert!(process["emfile_errors"].as_u64() >= Some(20), "accept and socket: {process:#}");
    assert!(process["rss_bytes"].as_u64() > Some(100_000), "{process:#}");
    let waiting = of_kind(&report, pid, "close_wait_not_accepted").expect("what it could not accept");
    assert_eq!(waiting["sockets"], 40 - held, "{waiting:#}");
    assert_eq!(waiting["accept_queues"][0]["length"], 40 - held, "{waiting:#}");
    let of = |name| agent.metrics().sum(name, &[("comm", &*leaky.comm)]);
    assert!(of("tlsclose_process_emfile_errors_total") >= Some(20.0));
    assert_eq!(of("tlsclose_process_max_fds"), Some(24.0));
    assert_eq!(of("tlsclose_accept_queue_length"), Some((40 - held) as f64));
}

#[test]
fn the_time_until_no_descriptor_is_left_follows_from_the_present_growth() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let arguments = ["--processes", "10000", "--count", "2000", "--rate", "10", "--for", "60"];
    let leaky = Leaky::start(&namespace, Language::C, &EXHAUSTED, &arguments);
    let pid = leaky.pid();
    // Ten a second, once those of the first seconds linger: 1000 seconds for the rest of 10000.
    let report = agent.wait_for("150 sockets", seconds(40), |report| sockets_of(report, pid) >= 150);
    let site = of_kind(&report, pid, "close_wait_eof_read").expect("its site");
    let process = process_of(site, pid).expect("its process");
    let left = process["fds_exhausted_in_seconds"].as_f64().expect("a time");
    assert!((800.0..1600.0).contains(&left), "{process:#}");
    assert_eq!(process["emfile_errors"], 0, "{process:#}");
    assert_eq!(list(&site["accept_queues"]).count(), 0, "{site:#}");
}
