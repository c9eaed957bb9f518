//! The commands, their exit codes and what they say when it cannot be done.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tlsclose_tests::agent::{Agent, tlsclose_command};
use tlsclose_tests::child::{Child, Output, copy_of, run};
use tlsclose_tests::expect::assert_names_opening;
use tlsclose_tests::host::{free_port, needs, tlsclose, tool};
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{is_leaking, list, sites_of, sockets_of};
use tlsclose_tests::{seconds, wait_for};

use crate::shared_agent_and_leak;

/// One line on standard error that says what is wrong, and this exit code.
pub fn assert_one_line(output: &Output, code: i32, says: &str) {
    assert_eq!(output.code, Some(code), "{output:?}");
    let lines: Vec<_> = output.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    assert_eq!(lines.len(), 1, "one line says it: {output:?}");
    assert!(lines[0].contains(says), "nothing of `{says}`: {output:?}");
    assert!(!lines[0].contains("panicked"), "{output:?}");
}

fn agent_command(program: &std::path::Path, directory: &TempDir) -> Command {
    let mut command = Command::new(program);
    command.arg("agent").arg("--socket").arg(directory.path().join("agent.sock"));
    command.arg(format!("--web.listen-address=127.0.0.1:{}", free_port()));
    command
}

#[test]
fn without_root_one_line_says_so() {
    let (_directory, program) = copy_of(&tlsclose(), "tlsclose");
    let listen = format!("--web.listen-address=127.0.0.1:{}", free_port());
    let refused: [&[&str]; 3] = [&["agent", &listen], &["leaks", "--standalone", "--for", "1s"], &["states"]];
    for words in refused {
        let output = run(Command::new(&program).args(words).uid(65534).gid(65534), seconds(10));
        assert_one_line(&output, 1, "root");
    }
    let mut doctor = Command::new(&program);
    let output = run(doctor.arg("doctor").uid(65534).gid(65534), seconds(10));
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.contains(": cannot run: "), "{output:?}");
}

/// Root in a container often has none of its capabilities.
#[test]
fn without_capabilities_one_line_says_so() {
    needs(&["setpriv"]);
    let directory = TempDir::new().expect("a directory");
    let mut command = Command::new(tool("setpriv"));
    command.args(["--bounding-set=-all", "--inh-caps=-all"]);
    command.arg(tlsclose()).arg("agent").arg("--socket").arg(directory.path().join("agent.sock"));
    command.arg(format!("--web.listen-address=127.0.0.1:{}", free_port()));
    assert_one_line(&run(&mut command, seconds(10)), 1, "CAP_BPF");
}

#[test]
fn the_doctor_finds_this_kernel_fit() {
    let output = run(&mut tlsclose_command(&["doctor"]), seconds(20));
    assert_eq!(output.code, Some(0), "{output:?}");
    let output = run(&mut tlsclose_command(&["doctor", "-o", "json"]), seconds(20));
    let report: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert!(report.to_string().contains("eof_stacks"), "{report:#}");
    // Kernels before 5.13 have no way to walk a map.
    let features = || list(&report["features"]);
    let walks_maps = features().any(|one| one["name"] == "unheld_sockets" && one["available"] == true);
    let conclusion = report["conclusion"].as_str().expect("a conclusion");
    let missing = "reduced: half-closed sockets that no descriptor shows (in flight, held by io_uring or by a blocked call) are not found";
    assert_eq!(conclusion, if walks_maps { "full" } else { missing }, "{report:#}");
    let named = |name: &str| list(&report["host"]).find(|fact| fact["name"] == name).expect("a fact")["found"].clone();
    assert!(named("capabilities").as_str().is_some_and(|held| held.contains("CAP_BPF")), "{report:#}");
    assert!(named("pid_namespace").as_str().is_some_and(|which| which.starts_with("the host's")), "{report:#}");
}

/// Then nobody else's system calls are slowed, as a tracepoint would.
#[test]
fn system_calls_are_watched_at_their_functions_where_the_host_allows_it() {
    // Unreadable, or empty, where programs may not be attached to functions.
    let allowed = std::fs::read_to_string("/sys/kernel/tracing/available_filter_functions").unwrap_or_default();
    let functions: Vec<&str> = allowed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let output = run(&mut tlsclose_command(&["doctor", "-o", "json"]), seconds(20));
    let report: Value = serde_json::from_str(&output.stdout).expect("JSON");
    for (feature, kind, call, tracepoint) in [
        ("accept_stacks", "fexit", "accept", "sys_exit_accept"),
        ("accept4_stacks", "fexit", "accept4", "sys_exit_accept4"),
        ("close_calls", "fentry", "close", "sys_enter_close"),
        ("dup2_calls", "fentry", "dup2", "sys_enter_dup2"),
    ] {
        let function = ["__x64_sys_", "__arm64_sys_"].map(|prefix| format!("{prefix}{call}"));
        let function = function.iter().find(|function| functions.contains(&function.as_str()));
        let found = list(&report["features"]).find(|one| one["name"] == feature).expect("the feature");
        let expected = match function {
            Some(function) => format!("{kind} {function}: loaded and attached, in place of {tracepoint}"),
            None => format!("{tracepoint}: loaded and attached"),
        };
        assert_eq!(found["probe"], expected, "{report:#}");
    }
}

/// No transition is ever attributed to whoever ran on the CPU.
#[test]
fn states_shows_transitions_with_their_owner() {
    let namespace = Netns::new();
    // A port that no other test uses, since all namespaces are seen.
    let port = free_port().to_string();
    let mut states = Child::spawn(&mut tlsclose_command(&["states", "-o", "json", "-L", &port]));
    let way = way_named("eof_forget");
    // It loads its programs while the first of them come.
    let arguments = ["--count", "15", "--rate", "5", "--recover-after", "1", "--for", "60", "--port", &port];
    let mut leaky = Leaky::start(&namespace, Language::C, way, &arguments);
    leaky.recovered();
    let transitions = |states: &Child| -> Vec<Value> {
        let text = states.stdout();
        let complete = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        complete.lines().map(|line| serde_json::from_str(line).expect("JSON Lines")).collect()
    };
    let last = wait_for("the last close", seconds(5), || {
        let all = transitions(&states);
        let closes = all.iter().filter(|one| one["new_state"] == "last_ack").count();
        (closes == 15).then_some(all)
    });
    let mut closed_by_name = 0;
    for one in last {
        let owner = &one["owner"];
        assert!(owner.is_null() || owner["pid"] == leaky.pid(), "{one:#}");
        if one["new_state"] == "last_ack" {
            closed_by_name += usize::from(owner["comm"] == *leaky.comm);
            let waited = one["milliseconds"].as_f64();
            assert!(waited.is_none_or(|waited| waited > 900.0), "{one:#}");
        }
        assert_eq!(one["local_port"].to_string(), port, "{one:#}");
    }
    // The first sockets may be older than the programs.
    assert!(closed_by_name >= 10, "{closed_by_name} of 15");
    states.signal(Signal::INT);
    states.wait(seconds(2)).expect("an end");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let directory = TempDir::new().expect("a directory");
    let mut command = tlsclose_command(&["agent", "--web.listen-address", &address]);
    command.arg("--socket").arg(directory.path().join("agent.sock"));
    assert_one_line(&run(&mut command, seconds(10)), 1, &address);
}

#[test]
fn missing_type_information_is_named() {
    let directory = TempDir::new().expect("a directory");
    let mut command = agent_command(&tlsclose(), &directory);
    let output = run(command.args(["--btf", "/nonexistent/vmlinux"]), seconds(10));
    assert_one_line(&output, 1, "/nonexistent/vmlinux");
}

#[test]
fn an_agent_that_is_not_there_is_lost_contact() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let output = run(&mut tlsclose_command(&["leaks", "--agent", &url]), seconds(10));
    assert_one_line(&output, 3, "127.0.0.1");
}

#[test]
fn an_agent_that_was_named_and_is_not_there_is_not_stood_in_for() {
    let directory = TempDir::new().expect("a directory");
    let mut command = tlsclose_command(&["leaks", "--socket"]);
    let output = run(command.arg(directory.path().join("agent.sock")), seconds(10));
    assert_one_line(&output, 3, "agent.sock");
}

#[test]
fn a_site_that_is_not_there_is_no_good_news() {
    let agent = Agent::shared();
    agent.wait_for_censuses(1);
    let mut command = tlsclose_command(&["leaks", "--site", "deadbeef", "--socket"]);
    assert_one_line(&run(command.arg(agent.socket()), seconds(10)), 1, "no site deadbeef here (");
}

#[test]
fn a_watch_too_short_for_a_verdict_gives_none() {
    let output = run(&mut tlsclose_command(&["leaks", "--standalone", "--for", "100ms"]), seconds(40));
    assert_one_line(&output, 1, "of the needed 3 censuses could be taken: not enough to say");
}

#[test]
fn wrong_usage_ends_with_2() {
    let wrong: [&[&str]; 7] = [
        &["frobnicate"],
        &["agent", "--no-such-flag"],
        &["agent", "--leak-after", "3 parsecs"],
        &["agent", "--max-sockets", "many"],
        &["leaks", "--fail-on", "sometimes"],
        &["leaks", "-p", "init"],
        &["explain", "no_such_kind"],
    ];
    for words in wrong {
        let output = run(&mut tlsclose_command(words), seconds(10));
        assert_eq!(output.code, Some(2), "{words:?}: {output:?}");
        assert!(!output.stderr.contains("panicked"), "{output:?}");
    }
}

#[test]
fn fail_on_makes_the_exit_code_4_when_something_leaks() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let arguments = ["--count", "100", "--rate", "2", "--for", "60"];
    let way = way_named("eof_forget");
    let leaky = Leaky::start(&namespace, Language::C, way, &arguments);
    let socket = agent.socket();
    let pid = leaky.pid().to_string();
    let leaks = |fail_on: &str, pid: &str| {
        let socket = socket.to_str().expect("UTF-8");
        let words = ["leaks", "--socket", socket, "-p", pid, "-o", "json", "--fail-on", fail_on];
        run(&mut tlsclose_command(&words), seconds(10))
    };
    assert_eq!(leaks("lingering", &pid).code, Some(0), "nothing lingers yet");
    agent.wait_for("lingering", seconds(10), |report| sockets_of(report, leaky.pid()) > 0);
    assert_eq!(leaks("lingering", &pid).code, Some(4));
    agent.wait_for("leaking", seconds(40), |report| is_leaking(report, leaky.pid()));
    let output = leaks("leaking", &pid);
    assert_eq!(output.code, Some(4), "{output:?}");
    let report: Value = serde_json::from_str(&output.stdout).expect("JSON, though it fails");
    assert!(is_leaking(&report, leaky.pid()), "{report:#}");
    let other = agent.pid().to_string();
    assert_eq!(leaks("lingering", &other).code, Some(0), "no site of that process");
}

#[test]
fn without_an_agent_leaks_watches_by_itself() {
    let namespace = Netns::new();
    let way = way_named("client_forget");
    // Some sockets are there before, some come while it watches, however late it begins.
    let arguments = ["--count", "8", "--rate", "1", "--for", "60"];
    let leaky = Leaky::start(&namespace, Language::C, way, &arguments);
    let pid = leaky.pid().to_string();
    let words = ["leaks", "--standalone", "--for", "12s", "--leak-after", "2s", "-p", &pid, "-o", "json"];
    let start = Instant::now();
    let output = run(&mut tlsclose_command(&words), seconds(40));
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(start.elapsed() >= seconds(12), "it watches for as long as it was told to");
    let report: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(sockets_of(&report, leaky.pid()), 8, "{report:#}");
    let sites = sites_of(&report, leaky.pid());
    let sampled = sites.iter().find(|site| !site["opened"].is_null());
    let sampled = sampled.unwrap_or_else(|| panic!("none opened under watch: {report:#}"));
    assert_names_opening(sampled, &leaky);
}

#[test]
fn leaks_prints_blocks_for_people() {
    let namespace = Netns::new();
    let (agent, leaky) = shared_agent_and_leak(&namespace);
    let pid = leaky.pid().to_string();
    let mut command = tlsclose_command(&["leaks", "-p", &pid, "--socket"]);
    let output = run(command.arg(agent.socket()), seconds(10));
    assert_eq!(output.code, Some(0), "{output:?}");
    let opened = leaky.way.line(leaky.language, "opened");
    let touched = leaky.way.line(leaky.language, "touched");
    let places = [format!("ways.c:{opened}"), format!("ways.c:{touched}")];
    let functions = [leaky.way.opened_function(), leaky.way.touched_function()];
    for part in places.iter().chain(&functions).chain([&pid, &leaky.comm]) {
        assert!(output.stdout.contains(part), "nothing of {part}: {}", output.stdout);
    }
    assert!(!output.stdout.contains('\u{1b}'), "no colour in a pipe: {output:?}");
}
