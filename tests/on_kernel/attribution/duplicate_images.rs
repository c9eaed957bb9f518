//! Copies of a program, as the containers of one image are: read and parsed once, and each named
//! as what it is.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

use tlsclose_tests::agent::Agent;
use tlsclose_tests::expect::{assert_names_everything, wait_for_site};
use tlsclose_tests::host::unique_comm;
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;

/// How often the agent's helpers hold a file of this size: as sealed copies, each a file of its own.
fn held(agent: &Agent, size: u64) -> usize {
    let of = |pid: u32| fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let helpers = agent.tree().into_iter().filter(|pid| *pid != agent.pid());
    let copies = helpers
        .flat_map(of)
        .map(|entry| entry.path())
        .filter(|path| fs::read_link(path).is_ok_and(|link| link.to_string_lossy().contains("memfd:tlsclose-module")));
    let copies = copies.filter_map(|path| fs::metadata(path).ok()).filter(|copy| copy.len() == size);
    copies.map(|copy| copy.ino()).collect::<BTreeSet<_>>().len()
}

#[test]
fn copies_of_a_program_are_read_once_and_are_one_site() {
    let (namespace, agent) = (Netns::new(), Agent::start());
    let comm = unique_comm();
    let mut seen = Vec::new();
    let arguments = ["--count", "4", "--rate", "10", "--for", "60"];
    let start = || Leaky::start_as(&comm, &namespace, Language::FramelessC, way_named("eof_forget"), &arguments);
    for _ in 0..3 {
        let mut leaky = start();
        assert_eq!(leaky.ready(), 4);
        let site = wait_for_site(&agent, &leaky, 4);
        // With its own path in every frame.
        assert_names_everything(&site, &mut leaky);
        let own = site["opened"]["stack"].to_string().contains(leaky.executable().to_str().expect("UTF-8"));
        assert!(own, "{site:#}");
        let size = fs::metadata(leaky.executable()).expect("the program").len();
        seen.push((held(&agent, size), site["site"].clone()));
    }
    assert!(seen.iter().all(|other| other.0 == 1 && *other == seen[0]), "{seen:?}");
}
