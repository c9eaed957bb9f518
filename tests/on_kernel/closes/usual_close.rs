//! Beside a leak stands where its siblings are closed, to the line.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::child::Child;
use tlsclose_tests::expect::wait_for_site;
use tlsclose_tests::host::{needs, root};
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{frames_in, function, line_in, list, named_by, sites_of};
use tlsclose_tests::seconds;

/// Each program forgets one socket in ten.
const ARGUMENTS: [&str; 6] = ["--count", "70", "--for", "60", "--leak-every", "10"];
const LEAKED: u64 = 7;
const CLOSED: u64 = 63;

/// Waits for the site of a process that shows its usual close: this function, at this line.
fn assert_usual_close(agent: &Agent, pid: u32, name: &str, source: &str, line: u64) {
    let report = agent.wait_for("the usual close", seconds(20), |report| {
        sites_of(report, pid).iter().any(|site| site["sockets"] == LEAKED && !site["usual_close"].is_null())
    });
    let site = sites_of(&report, pid)[0];
    let usual = &site["usual_close"];
    let base = Path::new(source).file_name().and_then(|name| name.to_str()).expect("a name");
    let frames = frames_in(&usual["stack"], base);
    let frame = frames.first().unwrap_or_else(|| panic!("no frame of {source}: {usual:#}"));
    assert_eq!((function(frame), frame["line"].as_u64()), (name, Some(line)), "{usual:#}");
    assert_eq!(usual["whole"], true, "{usual:#}");
    let sockets = usual["sockets"].as_u64().expect("a number");
    assert!((1..=CLOSED).contains(&sockets), "{sockets} of {CLOSED} that were closed");
    let why = site["why"].as_str().expect("a sentence");
    assert!(why.ends_with(&format!("{base}:{line}); these {LEAKED} were not.")), "{why}");
}

fn check(language: Language, ways: &[&str], place: (&str, &str, &str)) {
    check_with(&ARGUMENTS, language, ways, place);
}

fn check_with(arguments: &[&str], language: Language, ways: &[&str], (name, source, marker): (&str, &str, &str)) {
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let line = line_in(source, marker);
    for way in ways {
        let mut leaky = Leaky::start(&namespace, language, way_named(way), arguments);
        assert_eq!(leaky.ready(), LEAKED);
        assert_usual_close(&agent, leaky.pid(), name, source, line);
    }
}

const IN_C: (&str, &str, &str) = ("close_finished", "tests/leaky/c/holder.c", "close_finished closed");
const IN_RUST: (&str, &str, &str) = ("close_finished", "tests/leaky/rust/holder.rs", "close_finished closed");

#[test]
fn a_leak_in_c_is_shown_beside_the_usual_close_of_its_siblings() {
    check(Language::C, &["eof_forget", "reset_forget", "client_half_close"], IN_C);
    check(Language::FramelessC, &["eof_forget"], IN_C);
}

#[test]
fn a_leak_is_shown_beside_the_usual_close_whichever_libc_is_linked_in_whichever_way() {
    // With musl each stack is a copy, of which a process has so many in a second.
    let slowly = [&ARGUMENTS[..], &["--rate", "30"]].concat();
    for language in [Language::OptimisedC, Language::StaticC, Language::Musl, Language::StaticMusl] {
        check_with(&slowly, language, &["eof_forget"], IN_C);
    }
}

#[test]
fn a_leak_in_a_stripped_program_is_shown_beside_an_offset_that_names_its_usual_close() {
    needs(&["addr2line"]);
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let mut leaky = Leaky::start(&namespace, Language::StrippedC, way_named("eof_forget"), &ARGUMENTS);
    assert_eq!(leaky.ready(), LEAKED);
    let has_closed = |report: &Value| sites_of(report, leaky.pid()).iter().any(|site| !site["usual_close"].is_null());
    let report = agent.wait_for("the usual close", seconds(20), has_closed);
    let usual = &sites_of(&report, leaky.pid())[0]["usual_close"];
    let own = leaky.executable().to_str().expect("UTF-8");
    let frame = list(&usual["stack"]).find(|frame| frame["module"] == own).unwrap_or_else(|| panic!("{usual:#}"));
    assert!(frame["function"].is_null() && usual["whole"] == true, "{usual:#}");
    let (name, place) = named_by(&Language::FramelessC.program(), frame);
    assert_eq!(name, IN_C.0, "{usual:#}");
    let expected = format!("holder.c:{}", line_in(IN_C.1, IN_C.2));
    assert!(place.contains(&expected), "{place} is not {expected}");
}

#[test]
fn a_leak_in_cpp_is_shown_beside_the_usual_close_of_its_siblings() {
    let place = ("clean_up(int)", "tests/leaky/cpp/leaky.cc", "eof_forget closed");
    check(Language::Cpp, &["eof_forget"], place);
}

#[test]
fn a_leak_in_rust_is_shown_beside_the_usual_close_of_its_siblings() {
    check(Language::Rust, &["eof_forget", "client_half_close"], IN_RUST);
    check(Language::FramelessRust, &["eof_forget"], IN_RUST);
}

#[test]
fn a_leak_in_go_is_shown_beside_the_usual_close_of_its_siblings() {
    needs(&["go"]);
    let place = ("main.eof_forget_close", "tests/leaky/go/leaky.go", "eof_forget closed");
    check(Language::Go, &["eof_forget"], place);
    check(Language::StrippedGo, &["eof_forget"], place);
}

#[test]
fn a_leak_in_python_is_shown_beside_the_usual_close_of_its_siblings() {
    const SOURCE: &str = "tests/leaky/python/leaky.py";
    needs(&["python3"]);
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let mut python = namespace.command("/usr/bin/python3");
    python.arg("-B").arg(root().join(SOURCE)).arg("eof_forget").args(ARGUMENTS).args(["--rate", "50"]);
    let mut child = Child::spawn(&mut python);
    assert_eq!(child.wait_for_line("ready ", seconds(30)), LEAKED.to_string());
    assert_usual_close(&agent, child.pid(), "EofForget.finish", SOURCE, line_in(SOURCE, "eof_forget closed"));
}

#[test]
fn a_socket_that_the_end_of_a_process_closed_has_no_usual_close() {
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let way = way_named("eof_forget");
    let mut first = Leaky::start(&namespace, Language::C, way, &["--count", "5", "--for", "60"]);
    wait_for_site(&agent, &first, 5);
    first.child().signal(Signal::KILL);
    let again = namespace.command(first.executable());
    let second = Leaky::start_by(Language::C, way, &["--count", "4", "--for", "60"], |_| again);
    let site = wait_for_site(&agent, &second, 4);
    agent.wait_for_censuses(2);
    assert_eq!(site["usual_close"], Value::Null, "{site:#}");
}
