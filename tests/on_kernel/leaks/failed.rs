//! Sockets whose connect() failed.

use tlsclose_tests::agent::Agent;
use tlsclose_tests::expect::assert_at;
use tlsclose_tests::leaky::{Language, Leaky, Way};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{list, sites_of, sockets_of};
use tlsclose_tests::seconds;

const SOURCE: &str = "tests/leaky/c/failed.c";

const FAILED: Way =
    Way { name: "failed", kind: "connect_failed_held", state: "close", recv_queue: 0, is_client: true, touched: None };

/// A connect() that blocks, and fails, leaves a socket that knows neither its port nor its peer's any more.
#[test]
fn a_socket_whose_connect_failed_is_found_whether_or_not_the_call_blocked() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let ways = [("blocking", "4"), ("polled", "4"), ("blocking", "6"), ("blocking", "mapped")];
    let programs = ways.map(|(way, family)| {
        let arguments = ["--way", way, "--count", "5", "--family", family, "--for", "60"];
        Leaky::start(&namespace, Language::C, &FAILED, &arguments)
    });
    for ((way, family), mut failed) in ways.into_iter().zip(programs) {
        failed.ready();
        let (pid, port) = (failed.pid(), format!(":{}", failed.port()));
        agent.wait_for(&format!("5 sockets, {way}, {family}"), seconds(20), |report| sockets_of(report, pid) == 5);
        agent.wait_for_censuses(2);
        let report = agent.leaks();
        let sites = sites_of(&report, pid);
        let [site] = sites[..] else { panic!("{sites:#?}") };
        assert_eq!((&site["kind"], &site["sockets"], &site["lingered"]), (&FAILED.kind.into(), &5.into(), &5.into()));
        assert_at(&site["opened"]["stack"], SOURCE, "failed_connect", "failed opened");
        for example in list(&site["examples"]) {
            let remote = example["remote"].as_str().expect("an address");
            assert!(remote.ends_with(&port), "where it wanted to connect to: {site:#}");
            assert_eq!(example["holders"][0]["pid"], pid, "{site:#}");
        }
    }
}
