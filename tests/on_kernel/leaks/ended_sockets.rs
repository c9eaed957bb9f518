//! Sockets that are kept though their connections are over: how those ended is said as it was.

use tlsclose_tests::agent::Agent;
use tlsclose_tests::leaky::{Language, Leaky, Way};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{sites_of, sockets_of};
use tlsclose_tests::seconds;

const ENDED: Way =
    Way { name: "ended", kind: "reset_held", state: "close", recv_queue: 0, is_client: false, touched: None };

#[test]
fn a_connection_that_both_sides_have_ended_is_held_and_not_said_to_be_reset() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let ways = [
        ("first", "Both sides have ended the connection; the last call was read in read_to_end"),
        ("second", "Both sides have ended the connection; the last call was shutdown in ended_shutdown"),
        ("reset", "The connection is dead (reset or timed out); the last call was shutdown in ended_shutdown"),
    ];
    let programs = ways
        .map(|(way, _)| Leaky::start(&namespace, Language::C, &ENDED, &["--way", way, "--count", "5", "--for", "60"]));
    for ((way, expected), mut ended) in ways.into_iter().zip(programs) {
        ended.ready();
        let pid = ended.pid();
        let report = agent.wait_for(way, seconds(20), |report| sockets_of(report, pid) == 5);
        for site in sites_of(&report, pid) {
            assert_eq!(site["kind"], ENDED.kind, "{site:#}");
            let why = site["why"].as_str().expect("a sentence");
            assert!(why.starts_with(expected), "{way}: {why}");
            let fix = site["fix"].as_str().expect("a sentence");
            assert_eq!(fix.contains("on every error"), way == "reset", "{way}: {fix}");
        }
    }
}
