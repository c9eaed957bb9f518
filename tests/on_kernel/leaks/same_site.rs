//! One cause has one site, however its stacks are taken; two causes never share one.

use std::collections::BTreeMap;

use serde_json::Value;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::expect::{wait_for_site, wait_for_sites};
use tlsclose_tests::host::unique_comm;
use tlsclose_tests::leaky::{INLINED, Language, Leaky, WAYS, Way, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{function, list};

const ARGUMENTS: [&str; 6] = ["--count", "4", "--rate", "10", "--for", "60"];

/// The site of a program that has just been started.
fn site_of(agent: &Agent, mut leaky: Leaky) -> Value {
    assert_eq!(leaky.ready(), 4);
    wait_for_site(agent, &leaky, 4)
}

/// The same source once with frame pointers, walked in the kernel, and once without, unwound by
/// tables from copies; each twice, in another address space, for an agent that knows nothing yet.
#[test]
fn both_ways_of_unwinding_give_one_site_after_every_restart() {
    assert_one_site(
        &["eof_forget", "client_half_close", "client_forget"],
        &[Language::OptimisedC, Language::FramelessC],
    );
}

/// musl says nothing about its own stacks, and has other inner functions than glibc.
#[test]
fn another_libc_gives_the_same_site() {
    assert_one_site(
        &["eof_forget", "client_half_close"],
        &[Language::FramelessC, Language::Musl, Language::FramedMusl],
    );
    assert_one_site(&["eof_forget"], &[Language::StaticMusl, Language::FramedStaticMusl]);
}

fn assert_one_site(ways: &[&str], languages: &[Language]) {
    let namespace = Netns::new();
    let comm = unique_comm();
    let programs = || ways.iter().flat_map(|way| languages.iter().map(|language| (way_named(way), *language)));
    let mut sites: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for _ in 0..2 {
        let agent = Agent::start();
        let start = |(way, language)| Leaky::start_as(&comm, &namespace, language, way, &ARGUMENTS);
        let mut started: Vec<Leaky> = programs().map(start).collect();
        for leaky in &mut started {
            assert_eq!(leaky.ready(), 4);
        }
        let found = wait_for_sites(&agent, &started, 4);
        for (leaky, site) in started.iter().zip(&found) {
            let name = leaky.way.name;
            for touch in ["opened", "touched"].map(|touch| &site[touch]) {
                assert_eq!(touch["whole"], true, "{site:#}");
            }
            sites.entry(name).or_default().push(site["site"].as_str().expect("a site").to_owned());
        }
    }
    for (way, sites) in &sites {
        assert_eq!(sites.len(), 2 * languages.len(), "{way}");
        assert!(sites.iter().all(|site| site == &sites[0]), "{way}: {sites:?}");
    }
}

/// Without names, a frame counts by build and offset, which the address space does not change.
#[test]
fn a_stripped_program_keeps_its_site_after_every_restart() {
    let namespace = Netns::new();
    let comm = unique_comm();
    let agent = Agent::shared();
    let start = || Leaky::start_as(&comm, &namespace, Language::StrippedC, way_named("eof_forget"), &ARGUMENTS);
    let [first, second] = [site_of(&agent, start()), site_of(&agent, start())];
    let own = |site: &Value| list(&site["opened"]["stack"]).any(|frame| function(frame) == "eof_forget_accept");
    assert!(!own(&first) && !own(&second), "it has names: {first:#}");
    assert_eq!(first["site"], second["site"], "{first:#} {second:#}");
}

#[test]
fn every_cause_of_a_program_has_a_site_of_its_own() {
    for language in [Language::C, Language::FramelessC, Language::StrippedC, Language::Musl] {
        let (namespace, agent) = (Netns::new(), Agent::shared());
        let comm = unique_comm();
        let mut ways = BTreeMap::new();
        // One after the other: there is a budget for copies of stacks.
        let start = |way| {
            let mut leaky = Leaky::start_as(&comm, &namespace, language, way, &ARGUMENTS);
            leaky.ready();
            leaky
        };
        let started: Vec<Leaky> = WAYS.iter().chain([&INLINED]).map(start).collect();
        let found = wait_for_sites(&agent, &started, 4);
        for (leaky, site) in started.iter().zip(&found) {
            let way = leaky.way.name;
            let site = site["site"].as_str().expect("a site").to_owned();
            assert_ne!(site, "unsampled");
            let before = ways.insert(site, way);
            assert_eq!(before, None, "{language:?}: {way} has the same site");
        }
    }
}

/// All that is known of them is that libc was called, from code that is in no file.
#[cfg(target_arch = "x86_64")]
#[test]
fn causes_that_only_libc_was_seen_of_share_no_site() {
    const GENERATED: Way = Way { name: "generated", ..WAYS[0] };
    let (namespace, agent) = (Netns::new(), Agent::shared());
    for language in [Language::C, Language::FramelessC] {
        let mut leaky = Leaky::start(&namespace, language, &GENERATED, &["--count", "8", "--for", "60"]);
        assert_eq!(leaky.ready(), 8);
        let site = wait_for_site(&agent, &leaky, 8);
        assert_eq!(site["site"], "unsampled", "{language:?}: {site:#}");
        // What is the same for all of them is shown, and that it is not the whole path.
        for (path, call) in [(&site["opened"], "accept4"), (&site["touched"], "read")] {
            assert_eq!((&path["call"], &path["whole"]), (&call.into(), &false.into()), "{language:?}: {site:#}");
            let [frame] = list(&path["stack"]).collect::<Vec<_>>()[..] else { panic!("{language:?}: {site:#}") };
            assert!(frame["module"].as_str().is_some_and(|module| module.contains("libc.so")), "{site:#}");
        }
    }
}
