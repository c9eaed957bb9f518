//! Every way to leak is found, with its process and its line of code.

use std::fs;
use std::process::Command;

use serde_json::Value;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::child::copy_of;
use tlsclose_tests::expect::{
    assert_names_everything, assert_names_opening, assert_names_process, wait_for_site, wait_for_sites,
};
use tlsclose_tests::host::{leaky_rust, needs};
use tlsclose_tests::leaky::{INLINED, Language, Leaky, WAYS, Way, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{frames_in, function, list, sites_of};

/// Number of sockets that each program leaks; odd, to be recognised.
const SOCKETS: &str = "7";

/// Starts a program for each way, and checks every finding.
fn check_ways(language: Language, arguments: &[&str]) {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let arguments = [&["--count", SOCKETS, "--for", "60"], arguments].concat();
    let start = |way: &Way| Leaky::start(&namespace, language, way, &arguments);
    let mut programs: Vec<_> = WAYS.iter().map(start).collect();
    for leaky in &mut programs {
        assert_eq!(leaky.ready(), 7);
    }
    let sites = wait_for_sites(&agent, &programs, 7);
    for (leaky, site) in programs.iter_mut().zip(&sites) {
        assert_names_everything(site, leaky);
    }
}

#[test]
fn every_way_to_leak_is_found_in_c() {
    check_ways(Language::C, &[]);
}

#[test]
fn every_way_to_leak_is_found_in_optimised_c() {
    check_ways(Language::OptimisedC, &[]);
}

#[test]
fn every_way_to_leak_is_found_in_rust() {
    check_ways(Language::Rust, &[]);
}

/// Where there are threads, glibc's wrappers use the frame pointer's register for something else.
#[test]
fn every_way_to_leak_is_found_in_c_with_threads() {
    check_ways(Language::C, &["--threads", "3", "--idle-threads", "1"]);
}

#[test]
fn every_way_to_leak_is_found_in_rust_with_threads() {
    check_ways(Language::Rust, &["--threads", "3"]);
}

#[test]
fn every_way_to_leak_is_found_over_ipv6() {
    check_ways(Language::C, &["--family", "6"]);
}

#[test]
fn addresses_are_shown_as_people_write_them() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let families = [("4", "127.0.0.1"), ("6", "[::1]"), ("mapped", "127.0.0.1")];
    for (family, address) in families {
        let arguments = ["--count", "3", "--for", "40", "--family", family];
        let start = |way| Leaky::start(&namespace, Language::C, way_named(way), &arguments);
        let mut programs = ["eof_forget", "client_half_close"].map(start);
        for leaky in &mut programs {
            leaky.ready();
        }
        let sites = wait_for_sites(&agent, &programs, 3);
        for (leaky, site) in programs.iter_mut().zip(&sites) {
            let way = leaky.way.name;
            assert_names_everything(site, leaky);
            for example in list(&site["examples"]) {
                for side in ["local", "remote"] {
                    let shown = example[side].as_str().unwrap_or_default();
                    let (host, port) = shown.rsplit_once(':').unwrap_or_default();
                    assert_eq!(host, address, "{family} {way} {side}: {shown}");
                    assert!(port.parse::<u16>().is_ok_and(|port| port > 0), "{side}: {shown}");
                }
            }
        }
    }
}

#[test]
fn every_way_to_leak_is_found_without_frame_pointers() {
    check_ways(Language::FramelessC, &[]);
}

#[test]
fn every_way_to_leak_is_found_without_frame_pointers_with_threads() {
    check_ways(Language::FramelessC, &["--threads", "2"]);
}

#[test]
fn without_frame_pointers_the_path_reaches_from_the_call_to_main() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let arguments = ["--count", "40", "--rate", "20", "--for", "40"];
    let mut leaky = Leaky::start(&namespace, Language::FramelessC, way_named("eof_forget"), &arguments);
    leaky.ready();
    let site = wait_for_site(&agent, &leaky, 40);
    for (touch, innermost) in [("opened", "eof_forget_accept"), ("touched", "eof_forget_handle")] {
        let ours = |frame: &&Value| frame["file"].as_str().is_some_and(|file| file.contains("tests/leaky/c"));
        let functions: Vec<&str> = list(&site[touch]["stack"]).filter(ours).map(function).collect();
        assert_eq!(functions, [innermost, "serve", "serve_all", "run_holder", "main"], "{site:#}");
    }
}

#[test]
fn inlined_functions_are_named_with_their_callers() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    for language in [Language::C, Language::OptimisedC, Language::Rust] {
        let arguments = ["--count", "3", "--for", "40"];
        let mut leaky = Leaky::start(&namespace, language, &INLINED, &arguments);
        leaky.ready();
        let site = wait_for_site(&agent, &leaky, 3);
        let expected = [
            ("opened", "inlined_forget_open", "inlined_forget_accept"),
            ("touched", "inlined_forget_read", "inlined_forget_handle"),
        ];
        for (touch, inner, outer) in expected {
            let frames = frames_in(&site[touch]["stack"], language.source());
            assert!(frames.len() >= 2, "{language:?} {touch}: {site:#}");
            let line = |what: &str| Some(INLINED.line(language, what));
            assert_eq!(function(frames[0]), inner, "{site:#}");
            assert_eq!(frames[0]["line"].as_u64(), line(touch), "{site:#}");
            assert_eq!(frames[0]["inlined"], true, "{site:#}");
            assert_eq!(function(frames[1]), outer, "{site:#}");
            assert_eq!(frames[1]["line"].as_u64(), line(&format!("{touch} caller")), "{site:#}");
            assert_eq!(frames[1]["inlined"], false, "{site:#}");
        }
    }
}

#[test]
fn a_deleted_executable_is_still_named_to_the_line() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    for language in [Language::C, Language::Rust] {
        let way = way_named("eof_forget");
        // One connection per second: the file is gone before the first one is leaked twice.
        let arguments = ["--count", "3", "--rate", "1", "--for", "40"];
        let mut leaky = Leaky::start(&namespace, language, way, &arguments);
        leaky.peer();
        fs::remove_file(leaky.executable()).expect("the executable");
        leaky.ready();
        let site = wait_for_site(&agent, &leaky, 3);
        let opened = frames_in(&site["opened"]["stack"], language.source());
        let innermost = opened.first().unwrap_or_else(|| panic!("no frame of its own: {site:#}"));
        assert_eq!(function(innermost), "eof_forget_accept", "{site:#}");
        assert_eq!(innermost["line"].as_u64(), Some(way.line(language, "opened")), "{site:#}");
    }
}

/// At the path where the process has its executable, the host has another program.
#[test]
fn a_program_in_another_mount_namespace_is_named_by_its_own_files() {
    needs(&["unshare", "mount"]);
    let namespace = Netns::new();
    let agent = Agent::shared();
    let way = way_named("client_forget");
    let (_directory, real) = copy_of(&Language::C.program(), "real");
    let arguments = ["--count", "3", "--for", "40"];
    let mut leaky = Leaky::start_by(Language::C, way, &arguments, |shown| -> Command {
        fs::copy(leaky_rust(), shown).expect("a decoy");
        let mut command = namespace.command("unshare");
        command.args(["--mount", "sh", "-c", "mount --bind \"$0\" \"$1\" && exec \"$@\""]);
        command.arg(real).arg(shown);
        command
    });
    leaky.ready();
    let site = wait_for_site(&agent, &leaky, 3);
    assert_names_process(&site, &leaky);
    assert_names_opening(&site, &leaky);
}

#[test]
fn healthy_twins_are_not_found() {
    let namespace = Netns::new();
    let agent = Agent::start_with(&["--leak-after=1s"]);
    let mut programs = Vec::new();
    for language in [Language::C, Language::Rust] {
        for way in WAYS {
            let arguments = ["--count", "30", "--rate", "10", "--for", "40", "--healthy"];
            programs.push(Leaky::start(&namespace, language, &way, &arguments));
        }
    }
    for leaky in &mut programs {
        assert_eq!(leaky.ready(), 30, "it has done its work");
    }
    for _ in 0..8 {
        agent.wait_for_censuses(1);
        let report = agent.leaks();
        for leaky in &mut programs {
            for pid in [leaky.pid(), leaky.peer()] {
                let sites = sites_of(&report, pid);
                assert!(sites.is_empty(), "{:?} {}: {sites:#?}", leaky.language, leaky.way.name);
            }
        }
    }
}
