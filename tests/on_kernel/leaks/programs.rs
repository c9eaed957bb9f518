//! The programs that leak do what they claim, as the kernel's own tools see it.

use std::collections::BTreeMap;
use std::fs;

use tlsclose_tests::child::run;
use tlsclose_tests::host::needs;
use tlsclose_tests::leaky::{INLINED, Language, Leaky, WAYS, Way, load};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::{seconds, wait_for};

/// How many sockets the namespace has by state and bytes to read, those of one process only.
fn states(namespace: &Netns, pid: u32) -> BTreeMap<(String, u64), usize> {
    let output = run(namespace.command("ss").args(["-Htanp"]), seconds(10));
    let mut states = BTreeMap::new();
    for line in output.stdout.lines().filter(|line| line.contains(&format!("pid={pid},"))) {
        let mut words = line.split_whitespace();
        let state = words.next().unwrap_or_default().to_ascii_lowercase().replace('-', "_");
        let unread = words.next().and_then(|word| word.parse().ok()).unwrap_or_default();
        if state != "listen" {
            *states.entry((state.replace("wait_2", "wait2"), unread)).or_default() += 1;
        }
    }
    states
}

fn socket_fds(pid: u32) -> usize {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors");
    let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

fn check(language: Language, way: &Way, arguments: &[&str]) {
    let namespace = Netns::new();
    let common = ["--count", "4", "--for", "20"];
    let mut leaky = Leaky::start(&namespace, language, way, &[&common, arguments].concat());
    assert_eq!(leaky.ready(), 4);
    let listeners = usize::from(!way.is_client);
    assert_eq!(socket_fds(leaky.pid()), 4 + listeners, "{language:?} {way:?}");
    // `ss` cannot see a socket that was reset.
    let expected = (way.state != "close").then(|| ((way.state.to_owned(), way.recv_queue), 4));
    let expected = BTreeMap::from_iter(expected);
    wait_for(&format!("{expected:?} by {language:?} {way:?}"), seconds(3), || {
        (states(&namespace, leaky.pid()) == expected).then_some(())
    });
}

fn check_all(language: Language) {
    needs(&["ss"]);
    for way in WAYS.iter().chain([&INLINED]) {
        check(language, way, &[]);
        check(language, way, &["--threads", "2", "--family", "6"]);
        check(language, way, &["--family", "mapped"]);
    }
}

#[test]
fn every_way_in_c_leaves_its_sockets_in_its_state() {
    check_all(Language::C);
}

#[test]
fn every_way_in_optimised_c_leaves_its_sockets_in_its_state() {
    check_all(Language::OptimisedC);
}

#[test]
fn every_way_in_rust_leaves_its_sockets_in_its_state() {
    check_all(Language::Rust);
}

#[test]
fn healthy_twins_keep_nothing() {
    needs(&["ss"]);
    for language in [Language::C, Language::Rust] {
        for way in WAYS {
            let namespace = Netns::new();
            let arguments = ["--count", "4", "--for", "20", "--healthy"];
            let mut leaky = Leaky::start(&namespace, language, &way, &arguments);
            assert_eq!(leaky.ready(), 4);
            assert_eq!(socket_fds(leaky.pid()), usize::from(!way.is_client), "{language:?} {way:?}");
        }
    }
}

#[test]
fn what_recovers_closes_all() {
    needs(&["ss"]);
    for language in [Language::C, Language::Rust] {
        let namespace = Netns::new();
        let arguments = ["--count", "4", "--for", "20", "--recover-after", "0.2"];
        let mut leaky = Leaky::start(&namespace, language, &WAYS[0], &arguments);
        assert_eq!(leaky.ready(), 4);
        leaky.recovered();
        assert_eq!(socket_fds(leaky.pid()), 1, "{language:?}");
    }
}

#[test]
fn every_program_ends_by_itself() {
    for language in [Language::C, Language::Rust] {
        for way in WAYS {
            let namespace = Netns::new();
            let arguments = ["--count", "2", "--for", "0.5"];
            let mut leaky = Leaky::start(&namespace, language, &way, &arguments);
            let status = leaky.child().wait(seconds(5)).expect("an end");
            assert!(status.success(), "{language:?} {way:?}");
        }
    }
}

#[test]
fn a_hog_fills_its_processes_with_close_wait() {
    needs(&["ss"]);
    let namespace = Netns::new();
    let arguments = ["hog", "--processes", "2", "--count", "4000", "--for", "30"];
    let mut hog = load(&namespace, &arguments);
    assert_eq!(hog.wait_for_line("ready ", seconds(20)), "8000");
    let output = run(namespace.command("ss").args(["-Htan", "state", "close-wait"]), seconds(20));
    assert_eq!(output.stdout.lines().count(), 8_000);
}
