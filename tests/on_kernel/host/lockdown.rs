//! Kernels that let nobody read their memory by address (lockdown=confidentiality): what is found there, and what is
//! said of the rest. In guests only.

use std::fs;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tlsclose_tests::agent::{Agent, tlsclose_command};
use tlsclose_tests::child::run;
use tlsclose_tests::expect::{assert_names_process, assert_names_sockets, wait_for_site};
use tlsclose_tests::host::kernel_version;
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{frames_in, list};
use tlsclose_tests::seconds;

use crate::serving::command_line::assert_one_line;

/// What finds its sockets, files or names by their addresses.
const LOST: [&str; 11] = [
    "accept4_stacks",
    "accept_queues",
    "accept_stacks",
    "callers",
    "close_calls",
    "close_range_calls",
    "dup2_calls",
    "dup3_calls",
    "python_frames",
    "tls_goodbyes",
    "unheld_sockets",
];

/// The kernel's types are enough for programs that read nothing by address. Says so for a kernel that is locked down.
fn can_go_without() -> bool {
    let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").expect("the state of lockdown");
    assert!(lockdown.contains("[confidentiality]"), "not locked down: {lockdown}");
    kernel_version() >= (5, 15)
}

#[test]
#[ignore = "needs a kernel that is locked down: cargo xtask vm --lockdown"]
fn the_doctor_says_what_a_lockdown_takes() {
    let can_run = can_go_without();
    let output = run(&mut tlsclose_command(&["doctor", "-o", "json"]), seconds(20));
    let report: Value = serde_json::from_str(&output.stdout).expect("JSON");
    let lockdown = list(&report["host"]).find(|fact| fact["name"] == "lockdown").expect("the fact");
    assert_eq!(lockdown["found"], "confidentiality", "{report:#}");
    let conclusion = report["conclusion"].as_str().expect("a conclusion");
    assert_eq!((&report["can_run"], output.code), (&can_run.into(), Some(i32::from(!can_run))), "{report:#}");
    if !can_run {
        assert!(conclusion.starts_with("cannot run: lockdown=confidentiality forbids "), "{report:#}");
        return;
    }
    assert!(conclusion.starts_with("reduced: "), "{report:#}");
    let missing = || list(&report["features"]).filter(|feature| feature["available"] == false);
    let mut names: Vec<_> = missing().filter_map(|feature| feature["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, LOST, "{report:#}");
    for feature in missing() {
        let probe = feature["probe"].as_str().expect("a text");
        assert!(probe.contains("lockdown=confidentiality"), "{feature:#}");
        let without = feature["without"].as_str().expect("a text");
        assert!(!without.is_empty() && conclusion.contains(without), "{conclusion}");
    }
    // It would be reason enough for not starting.
    let demanded = run(&mut agent(&TempDir::new().expect("a directory"), &["--close-calls=on"]), seconds(20));
    assert_one_line(&demanded, 1, "lockdown=confidentiality");
}

fn agent(directory: &TempDir, flags: &[&str]) -> Command {
    let mut command = tlsclose_command(&["agent", "--web.listen-address=127.0.0.1:0"]);
    command.arg("--socket").arg(directory.path().join("agent.sock")).args(flags);
    command
}

#[test]
#[ignore = "needs a kernel that is locked down: cargo xtask vm --lockdown"]
fn leaks_are_found_with_their_process_and_count_and_no_wrong_line() {
    if !can_go_without() {
        let refused = run(&mut agent(&TempDir::new().expect("a directory"), &[]), seconds(20));
        assert_one_line(&refused, 1, "lockdown=confidentiality");
        return;
    }
    let namespace = Netns::new();
    let agent = Agent::start();
    let metrics = agent.metrics();
    let feature = |name| metrics.sum("tlsclose_feature", &[("feature", name)]);
    assert_eq!(["self_check", "eof_stacks", "accept4_stacks"].map(feature), [Some(1.0), Some(1.0), Some(0.0)]);
    for way in ["eof_forget", "never_read", "half_close", "client_forget"] {
        let way = way_named(way);
        let mut leaky = Leaky::start(&namespace, Language::C, way, &["--count", "4", "--for", "60"]);
        leaky.ready();
        let site = wait_for_site(&agent, &leaky, 4);
        assert_names_process(&site, &leaky);
        assert_names_sockets(&site, &mut leaky);
        assert_eq!(site["opened"]["call"], if way.is_client { "connect".into() } else { Value::Null }, "{site:#}");
        if let Some((call, result)) = way.touched {
            assert_eq!(
                (&site["touched"]["call"], &site["touched"]["result"]),
                (&call.into(), &result.into()),
                "{site:#}"
            );
        }
        // The place of the system call, which is libc's, and nothing that might be its caller.
        for path in ["opened", "touched"].map(|path| &site[path]).into_iter().filter(|path| !path.is_null()) {
            assert_eq!((list(&path["stack"]).count(), &path["whole"]), (1, &Value::Bool(false)), "{site:#}");
            assert!(frames_in(&path["stack"], Language::C.source()).is_empty(), "{site:#}");
        }
    }
    assert_eq!(agent.leaks()["complete"], true);
}
