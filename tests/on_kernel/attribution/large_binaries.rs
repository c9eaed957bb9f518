//! Programs of hundreds of megabytes: what is read for names is copied first.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::child::run;
use tlsclose_tests::expect::{assert_names_everything, assert_names_process, wait_for_site};
use tlsclose_tests::host::{needs, tlsclose, tool};
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::memory::MemoryLimit;
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{list, sites_of};
use tlsclose_tests::seconds;

const ARGUMENTS: [&str; 6] = ["--count", "20", "--rate", "200", "--for", "60"];

fn start(namespace: &Netns, mib: u64) -> Leaky {
    let mut leaky = Leaky::start_sized(mib << 20, namespace, Language::FramelessC, way_named("eof_forget"), &ARGUMENTS);
    assert_eq!(leaky.ready(), 20);
    leaky
}

/// All its connections come while its file is still being copied, and nothing else waits for that.
#[test]
fn a_program_that_takes_long_to_read_is_named_from_its_first_connection_on() {
    let (namespace, agent) = (Netns::new(), Agent::start());
    let mut leaky = start(&namespace, 500);
    let is_read = |report: &Value| sites_of(report, leaky.pid()).iter().any(|site| !site["opened"].is_null());
    agent.wait_for("the file to be read", seconds(20), is_read);
    let site = wait_for_site(&agent, &leaky, 20);
    assert_names_everything(&site, &mut leaky);
}

/// With the memory that the unit and the manifests allow. Copies count there, and one that does not fit costs names.
#[test]
fn large_programs_are_read_as_far_as_the_agents_memory_goes() {
    let limit = MemoryLimit::of_mib(512);
    let (namespace, agent) = (Netns::new(), Agent::start_by(limit.command(&tlsclose()), &[]));
    let facts = agent.get("/api/v1/doctor").json()["host"].to_string();
    assert!(facts.contains("512 MiB; copies of programs, read for names, take up to 234 MiB"), "{facts}");
    // One after the other there is room, for all together not.
    for mib in [150, 200, 190] {
        let mut leaky = start(&namespace, mib);
        let site = wait_for_site(&agent, &leaky, 20);
        assert_names_everything(&site, &mut leaky);
    }
    let leaky = start(&namespace, 300);
    let site = wait_for_site(&agent, &leaky, 20);
    assert_names_process(&site, &leaky);
    let own = leaky.executable().to_str().expect("UTF-8");
    let mut frames = list(&site["opened"]["stack"]).filter(|frame| frame["module"] == own).peekable();
    assert!(frames.peek().is_some() && frames.all(|frame| frame["function"].is_null()), "{site:#}");
    assert_eq!(limit.ended(), 0);
    assert!(agent.stop().success());
    assert_eq!(limit.ended(), 0);
}

/// 1 MB of compressed DWARF that says that it is 800 MiB.
#[test]
fn what_unpacks_to_more_than_there_is_room_for_costs_its_own_names_only() {
    needs(&["objcopy"]);
    let limit = MemoryLimit::of_mib(512);
    let (namespace, agent) = (Netns::new(), Agent::start_by(limit.command(&tlsclose()), &[]));
    let mut bomb = Leaky::start_by(Language::FramelessC, way_named("eof_forget"), &ARGUMENTS, |executable| {
        inflate(executable, 400 << 20);
        namespace.command(executable)
    });
    assert_eq!(bomb.ready(), 20);
    let site = wait_for_site(&agent, &bomb, 20);
    assert_names_process(&site, &bomb);
    let own = bomb.executable().to_str().expect("UTF-8");
    let mut frames = list(&site["opened"]["stack"]).filter(|frame| frame["module"] == own).peekable();
    assert!(frames.peek().is_some() && frames.all(|frame| frame["line"].is_null()), "{site:#}");
    let mut leaky = start(&namespace, 1);
    let site = wait_for_site(&agent, &leaky, 20);
    assert_names_everything(&site, &mut leaky);
    assert_eq!(limit.ended(), 0);
    assert!(agent.stop().success());
    assert_eq!(limit.ended(), 0);
}

/// Puts zeros in the place of two sections of DWARF, each of that size, and compresses them.
fn inflate(executable: &Path, size: u64) {
    let [zeros, unpacked] = ["zeros", "unpacked"].map(|name| executable.with_file_name(name));
    File::create(&zeros).and_then(|file| file.set_len(size)).expect("a file of zeros");
    let objcopy = |arguments: &[String], from: &Path, to: &Path| {
        let done = run(Command::new(tool("objcopy")).args(arguments).arg(from).arg(to), seconds(120));
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    };
    let sections =
        [".debug_info", ".debug_str"].map(|section| format!("--update-section={section}={}", zeros.display()));
    objcopy(&sections, executable, &unpacked);
    objcopy(&["--compress-debug-sections=zlib".to_owned()], &unpacked, executable);
    [zeros, unpacked].into_iter().for_each(|file| fs::remove_file(file).expect("a file"));
    assert!(fs::metadata(executable).expect("a program").len() < 4 << 20);
}
