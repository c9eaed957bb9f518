//! What bad conditions get: a clear line or a partial finding, counted; never a panic, a hang or a
//! wrong name.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;
use tlsclose_tests::agent::{Agent, tlsclose_command};
use tlsclose_tests::child::run;
use tlsclose_tests::expect::{assert_names_everything, assert_names_touch, wait_for_site};
use tlsclose_tests::host::{kernel_version, needs, tlsclose, tool};
use tlsclose_tests::leaky::{Language, Leaky, load, way_named};
use tlsclose_tests::metrics::Metrics;
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{list, process_of, sites_of, sockets_of};
use tlsclose_tests::{seconds, wait_for};

/// A quote, a backslash, a newline, a tab, an escape and what is no UTF-8, in 15 bytes.
#[test]
fn a_hostile_command_name_breaks_no_output() {
    needs(&["promtool"]);
    let namespace = Netns::new();
    let agent = Agent::start();
    let way = way_named("eof_forget");
    let arguments = ["--count", "3", "--for", "60", "--comm-hex", "61225c0aff277d2c3d09c3281be282"];
    let mut leaky = Leaky::start(&namespace, Language::C, way, &arguments);
    leaky.ready();
    let site = wait_for_site(&agent, &leaky, 3);
    let comm = process_of(&site, leaky.pid()).expect("a process")["comm"].as_str();
    let comm = comm.expect("a name").to_owned();
    assert!(comm.starts_with('a') && !comm.contains(char::is_control), "{comm:?}");
    let text = agent.get("/metrics").body;
    let series = Metrics::parse(&text);
    let own = [("comm", &*comm), ("kind", "close_wait_eof_read")];
    assert_eq!(series.sum("tlsclose_lingering_sockets", &own), Some(3.0), "{comm:?}");
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("metrics");
    fs::write(&file, text).expect("a file");
    let check = "promtool check metrics < \"$0\"";
    let output = run(Command::new("sh").args(["-c", check]).arg(file), seconds(10));
    assert_eq!(output.code, Some(0), "{output:?}");
    let pid = leaky.pid().to_string();
    let mut table = tlsclose_command(&["leaks", "-p", &pid, "--socket"]);
    let output = run(table.arg(agent.socket()), seconds(10));
    assert_eq!(output.code, Some(0), "{output:?}");
    let is_harmless = |character: char| character == '\n' || !character.is_control();
    assert!(output.stdout.contains(&pid) && output.stdout.chars().all(is_harmless), "{output:?}");
}

#[test]
fn an_unreadable_executable_gives_names_or_module_and_offset() {
    let namespace = Netns::new();
    let agent = Agent::start();
    let way = way_named("eof_forget");
    let arguments = ["--count", "4", "--rate", "2", "--for", "60"];
    let mut leaky = Leaky::start(&namespace, Language::C, way, &arguments);
    leaky.peer();
    fs::set_permissions(leaky.executable(), fs::Permissions::from_mode(0o000)).expect("permissions");
    fs::remove_file(leaky.executable()).expect("the executable");
    leaky.ready();
    let site = wait_for_site(&agent, &leaky, 4);
    assert_eq!(site["kind"], way.kind);
    for touch in ["opened", "touched"] {
        assert_ne!(list(&site[touch]["stack"]).count(), 0, "{site:#}");
        for frame in list(&site[touch]["stack"]) {
            let is_named = frame["function"].is_string();
            let is_located = frame["module"].is_string() && frame["offset"].is_string();
            assert!(is_named || is_located, "{frame:#}");
        }
    }
}

#[test]
fn processes_that_die_at_once_get_no_wrong_name() {
    let namespace = Netns::new();
    let agent = Agent::start_with(&["--leak-after=300ms", "--census-interval=100ms"]);
    let way = way_named("client_forget");
    let mut found = BTreeSet::new();
    for _ in 0..4 {
        let start = |_| Leaky::start(&namespace, Language::C, way, &["--count", "3", "--for", "0.6"]);
        let mut programs: Vec<_> = (0..8).map(start).collect();
        while programs.iter_mut().any(|leaky| leaky.child().try_wait().is_none()) {
            let report = agent.leaks();
            for leaky in &programs {
                for site in sites_of(&report, leaky.pid()) {
                    let process = process_of(site, leaky.pid()).expect("its process");
                    assert_eq!(process["comm"], *leaky.comm, "{process:#}");
                    found.insert(leaky.pid());
                }
            }
        }
        // None of them is alive, so whoever has one of these PIDs now is somebody else. The first of these censuses may
        // have begun before the last one died, and one that misses a socket is not enough.
        agent.wait_for_censuses(3);
        let report = agent.leaks();
        for leaky in &programs {
            assert_eq!(sockets_of(&report, leaky.pid()), 0, "{report:#}");
        }
    }
    assert!(!found.is_empty(), "some lived for long enough");
    assert_eq!(agent.owner().get("/healthz").expect("an answer").status, 200);
}

#[test]
fn a_full_map_is_said_and_counted() {
    let namespace = Netns::new();
    let agent = Agent::start_with(&["--max-sockets=16"]);
    let way = way_named("eof_forget");
    let mut leaky = Leaky::start(&namespace, Language::C, way, &["--count", "60", "--for", "60"]);
    leaky.ready();
    let report = agent.wait_for("a loss to be told", seconds(15), |report| {
        report["complete"] == false && sockets_of(report, leaky.pid()) > 0
    });
    assert!(report["lost"]["sockets"].as_u64().is_some_and(|lost| lost > 0), "{report:#}");
    let full = [("what", "sockets"), ("reason", "map_full")];
    let lost = agent.metrics().sum("tlsclose_lost_total", &full);
    // Others on this host may have lost some, too.
    assert!(lost.is_some_and(|lost| lost >= 60.0 - 16.0), "{lost:?}");
    agent.wait_for_censuses(3);
    assert!(sockets_of(&agent.leaks(), leaky.pid()) <= 60, "never more than there are");
}

#[test]
fn thousands_of_threads_cost_no_finding() {
    let namespace = Netns::new();
    let agent = Agent::start();
    let way = way_named("eof_forget");
    let arguments = ["--count", "5", "--for", "60", "--threads", "2", "--idle-threads", "5000"];
    let mut leaky = Leaky::start(&namespace, Language::C, way, &arguments);
    leaky.ready();
    let tasks = fs::read_dir(format!("/proc/{}/task", leaky.pid())).expect("threads").count();
    assert!(tasks > 5000, "{tasks} threads");
    let site = wait_for_site(&agent, &leaky, 5);
    assert_names_everything(&site, &mut leaky);
    let census = agent.leaks()["census"]["seconds"].as_f64().expect("a duration");
    assert!(census < 0.5, "a census takes {census} s");
}

#[test]
fn sigterm_ends_it_at_once_and_leaves_nothing_behind() {
    needs(&["bpftool"]);
    let namespace = Netns::new();
    let agent = Agent::start();
    let _churn = load(&namespace, &["churn", "--for", "20"]);
    agent.wait_for_censuses(2);
    let (tree, socket) = (agent.tree(), agent.socket());
    let programs = programs_of(agent.pid());
    assert!(!programs.is_empty() && programs.iter().all(|id| is_loaded(id)), "{programs:?}");
    assert_eq!(mode_of(&socket), 0o600);
    let start = Instant::now();
    let status = agent.stop();
    assert!(status.success(), "{status:?} after {:?}", start.elapsed());
    wait_for("all programs to be unloaded", seconds(3), || programs.iter().all(|id| !is_loaded(id)).then_some(()));
    wait_for("all helpers to be gone", seconds(1), || {
        let exists = |pid: &u32| fs::metadata(format!("/proc/{pid}")).is_ok();
        (!tree.iter().any(exists)).then_some(())
    });
    assert!(!socket.exists(), "its socket is still there");
}

/// Of the million that a verifier looks at before it gives up: what a program costs while it is loaded, and how
/// far it is from being refused by a kernel that follows more paths.
const VERIFIED_INSTRUCTIONS: u64 = 250_000;

#[test]
fn no_program_takes_a_verifier_near_its_limit() {
    assert_far_from_the_verifiers_limit(&Agent::start());
}

/// All programs that it has loaded.
pub fn assert_far_from_the_verifiers_limit(agent: &Agent) {
    let descriptors = fs::read_dir(format!("/proc/{}/fdinfo", agent.pid())).expect("its descriptors");
    let texts: Vec<_> = descriptors.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect();
    let programs: Vec<_> = texts.iter().filter(|text| text.contains("prog_type:")).collect();
    assert!(programs.len() >= 10, "{programs:#?}");
    for program in programs {
        match program.lines().find_map(|line| line.strip_prefix("verified_insns:")) {
            Some(number) => {
                let number: u64 = number.trim().parse().expect("a number");
                assert!((1..VERIFIED_INSTRUCTIONS).contains(&number), "{program}");
            }
            // Told since 5.16.
            None => assert!(kernel_version() < (5, 16), "{program}"),
        }
    }
}

/// Bytes, where maps count as locked memory: the doctor says that a limit of so much is enough.
const LOCKED_MEMORY: u64 = 256 << 20;

#[test]
fn maps_take_their_memory_at_once_below_6_1_and_later_as_they_need_it() {
    const NO_PREALLOC: u32 = 1;
    let agent = Agent::start();
    let descriptors = fs::read_dir(format!("/proc/{}/fdinfo", agent.pid())).expect("its descriptors");
    let texts: Vec<_> = descriptors.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect();
    let maps: Vec<_> = texts.iter().filter(|text| text.contains("map_type:")).collect();
    assert!(maps.len() >= 20, "{maps:#?}");
    let value = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        line.unwrap_or_else(|| panic!("no {name}: {text}")).to_owned()
    };
    let flags = |text: &str| u32::from_str_radix(value(text, "map_flags").trim_start_matches("0x"), 16).expect("flags");
    let waiting = maps.iter().filter(|map| flags(map) & NO_PREALLOC != 0).count();
    assert_eq!(waiting, if kernel_version() < (6, 1) { 0 } else { 2 }, "{maps:#?}");
    let locked: u64 = maps.iter().map(|map| value(map, "memlock").parse::<u64>().expect("bytes")).sum();
    assert!((1 << 20..LOCKED_MEMORY).contains(&locked), "{locked}");
}

/// Identifiers of the BPF programs that a process holds, directly or by a link.
fn programs_of(pid: u32) -> BTreeSet<String> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("its descriptors");
    let texts = descriptors.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let id = |text: String| {
        let line = text.lines().find_map(|line| line.strip_prefix("prog_id:"));
        line.map(|id| id.trim().to_owned())
    };
    texts.filter_map(id).collect()
}

fn is_loaded(program: &str) -> bool {
    let mut show = Command::new(tool("bpftool"));
    run(show.args(["prog", "show", "id", program]), seconds(10)).code == Some(0)
}

fn mode_of(path: &std::path::Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

#[test]
fn without_tracefs_only_the_accepting_line_is_unknown() {
    needs(&["unshare", "umount"]);
    let namespace = Netns::new();
    let mut command = Command::new(tool("unshare"));
    let script = "umount -a -t tracefs; umount /sys/kernel/tracing; exec \"$0\" \"$@\"";
    command.args(["--mount", "sh", "-c", script]).arg(tlsclose());
    let agent = Agent::start_by(command, &[]);
    let start = |way| {
        let arguments = ["--count", "3", "--for", "60"];
        Leaky::start(&namespace, Language::C, way_named(way), &arguments)
    };
    let mut server = start("eof_forget");
    server.ready();
    let site = wait_for_site(&agent, &server, 3);
    assert_names_touch(&site, &server);
    assert!(site["opened"].is_null(), "{site:#}");
    let mut client = start("client_forget");
    client.ready();
    assert_names_everything(&wait_for_site(&agent, &client, 3), &mut client);
    let metrics = agent.metrics();
    let feature = |name| metrics.sum("tlsclose_feature", &[("feature", name)]);
    assert_eq!(feature("accept4_stacks"), Some(0.0));
    assert_eq!(feature("eof_stacks"), Some(1.0));
}
