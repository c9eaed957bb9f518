//! What sampling may cost, however busy the programs are, and who comes first.

use std::time::Instant;

use tlsclose_tests::agent::Agent;
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{sites_of, sockets_of};
use tlsclose_tests::seconds;

/// Stack copies per second and CPU.
const COPIES: u64 = 5;
/// A quiet time saves up for so many seconds.
const BURST_SECONDS: u64 = 5;

/// Seconds for which a budget may have been used up since then.
fn seconds_since(begun: Instant) -> u64 {
    begun.elapsed().as_secs() + 1 + BURST_SECONDS
}

/// How many the shared budget may have allowed since then.
fn may_be_copied_of_all(begun: Instant) -> u64 {
    let cpus = std::thread::available_parallelism().expect("CPUs").get() as u64;
    COPIES * cpus * seconds_since(begun)
}

/// Without frame pointers every stack is a copy. Three busy programs ask for hundreds of times what
/// may be had; one that leaks asks seldom.
#[test]
fn copies_of_stacks_are_bounded_and_go_first_to_a_program_that_leaks() {
    let flag = format!("--max-stack-copies-per-second={COPIES}");
    let (namespace, agent) = (Netns::new(), Agent::start_with(&[&flag]));
    let begun = Instant::now();
    let start = |arguments: &[&str]| Leaky::start(&namespace, Language::FramelessC, way_named("eof_forget"), arguments);
    let busy = ["--healthy", "--rate", "200", "--count", "4000", "--for", "20"];
    let busy = [start(&busy), start(&busy), start(&busy)];
    // Its stacks are needed while the others ask for theirs.
    let mut leaky = start(&["--rate", "2", "--count", "30", "--for", "60"]);
    assert_eq!(leaky.ready(), 30);
    let report = agent.wait_for("its sockets", seconds(20), |report| sockets_of(report, leaky.pid()) >= 30);
    let mut connections = 0;
    for mut busy in busy {
        connections += busy.ready();
    }
    let lost = agent.metrics().sum("tlsclose_lost_total", &[("what", "stacks")]).expect("a count") as u64;
    let may_be_copied = may_be_copied_of_all(begun);
    assert!(connections > 4 * may_be_copied, "{connections} connections are not busy");
    assert!(lost >= connections - may_be_copied, "{lost} of {connections} lost, {may_be_copied} may be copied");
    let sites = sites_of(&report, leaky.pid());
    let of = |site: &&&serde_json::Value| site["opened"]["stack"].to_string().contains("eof_forget_accept");
    let named = sites.iter().find(of).unwrap_or_else(|| panic!("not named: {sites:#?}"));
    // By its share of all that is asked for it would have one. Programs of other tests that leak come first, too.
    assert!(named["stack_samples"].as_u64() >= Some(6), "it did not come first: {named:#}");
}

/// Of the same budget, which the programs of other tests use up meanwhile: a program with frame pointers asks for copies
/// only until it is known, and from then on has more stacks than could be copied.
#[test]
fn a_program_with_frame_pointers_is_not_copied() {
    let flag = format!("--max-stack-copies-per-second={COPIES}");
    let (namespace, agent) = (Netns::new(), Agent::start_with(&[&flag]));
    let start = |language| {
        let arguments = ["--count", "3000", "--rate", "50", "--for", "120"];
        (Instant::now(), Leaky::start(&namespace, language, way_named("eof_forget"), &arguments))
    };
    // The shared budget, and what every process may have beyond it.
    let may_be_copied = |begun: Instant| may_be_copied_of_all(begun) + 4 * seconds_since(begun) + 16;
    let sampled = |report: &serde_json::Value, leaky: &Leaky| {
        let samples = sites_of(report, leaky.pid()).into_iter().filter_map(|site| site["stack_samples"].as_u64());
        samples.sum::<u64>()
    };
    let (begun, walked) = start(Language::OptimisedC);
    let more_than_copies = |report: &serde_json::Value| sampled(report, &walked) > 2 * may_be_copied(begun);
    agent.wait_for("paths that were walked", seconds(40), more_than_copies);

    let (begun, copied) = start(Language::FramelessC);
    let report = agent.wait_for("its sockets", seconds(40), |report| sockets_of(report, copied.pid()) >= 300);
    let sampled = sampled(&report, &copied);
    assert!((1..=may_be_copied(begun)).contains(&sampled), "{sampled} were copied, may be {}", may_be_copied(begun));
}
