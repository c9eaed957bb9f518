//! What the agent may do: no more than it uses, and what is lost with less.

use std::fs;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::child::{Child, copy_of, run};
use tlsclose_tests::expect::{assert_names_opening, wait_for_site};
use tlsclose_tests::host::{free_port, needs, tlsclose, tool};
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{list, process_of, sites_of, sockets_of};
use tlsclose_tests::rights::{NUMBERS, for_locked_memory, of_unit, with, without};
use tlsclose_tests::{seconds, wait_for};

use crate::agent_and_leak;

/// A field of `/proc/PID/status`.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    let value = line.unwrap_or_else(|| panic!("no {name}: {status}"));
    u64::from_str_radix(value, 16).expect("a number")
}

/// Of all threads of a process.
fn statuses(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok()).collect()
}

/// All of one user's own, with files that only this user may read.
fn as_another_user(namespace: &Netns, executable: &std::path::Path) -> Command {
    let mut command = namespace.command(tool("setpriv"));
    command.args(["--reuid=65533", "--regid=65533", "--clear-groups"]).arg(executable);
    command
}

#[test]
fn a_running_agent_holds_no_capability_that_it_does_not_use() {
    let namespace = Netns::new();
    let (agent, _leaky) = agent_and_leak(&namespace, &[]);
    let used: u64 = NUMBERS.iter().map(|(_, number)| 1 << number).sum();
    let threads = statuses(agent.pid());
    assert!(threads.len() > 1, "{threads:?}");
    for status in &threads {
        for (set, holds) in [("CapEff", used), ("CapPrm", used), ("CapBnd", used), ("CapInh", 0), ("CapAmb", 0)] {
            assert_eq!(field(status, set), holds, "{set}: {status}");
        }
        assert_eq!(field(status, "NoNewPrivs"), 1, "{status}");
    }
    let helpers = agent.tree().split_off(1);
    assert!(!helpers.is_empty(), "no helper");
    for status in helpers.into_iter().flat_map(statuses) {
        assert_eq!((field(&status, "CapEff"), field(&status, "CapPrm")), (0, 0), "{status}");
    }
}

/// `leaks --standalone`: what the agent does, for a while.
#[test]
fn watching_for_a_while_takes_what_the_agent_takes() {
    needs(&["setpriv"]);
    let namespace = Netns::new();
    // For longer than it watches, however late it begins.
    let arguments = ["--count", "120", "--rate", "2", "--for", "90"];
    let leaky = Leaky::start(&namespace, Language::C, way_named("eof_forget"), &arguments);
    let mut command = with(&of_unit());
    command.arg(tlsclose()).args(["leaks", "--standalone", "--for", "8s", "--leak-after", "1s", "-o", "json", "-p"]);
    let mut watching = Child::spawn(command.arg(leaky.pid().to_string()));
    let used: u64 = NUMBERS.iter().map(|(_, number)| 1 << number).sum();
    wait_for("the rest to be given up", seconds(10), || {
        let threads = statuses(watching.pid());
        let is_done = |status: &String| field(status, "NoNewPrivs") == 1 && field(status, "CapEff") == used;
        (!threads.is_empty() && threads.iter().all(is_done)).then_some(())
    });
    let ended = watching.wait(seconds(40)).expect("an end");
    assert!(ended.success(), "{ended:?}: {}", watching.stderr());
    let report: Value = serde_json::from_str(&watching.stdout()).expect("JSON");
    assert!(sockets_of(&report, leaky.pid()) >= 3, "{report:#}");
    let sites = sites_of(&report, leaky.pid());
    let sampled = sites.iter().find(|site| !site["opened"].is_null());
    assert_names_opening(sampled.unwrap_or_else(|| panic!("no line: {report:#}")), &leaky);
}

#[test]
fn states_takes_two_capabilities_and_keeps_none() {
    needs(&["setpriv"]);
    let namespace = Netns::new();
    let port = free_port().to_string();
    let two: Vec<String> =
        ["CAP_BPF", "CAP_PERFMON"].into_iter().chain(for_locked_memory()).map(str::to_owned).collect();
    let mut command = with(&two);
    let states = Child::spawn(command.arg(tlsclose()).args(["states", "-o", "json", "-L", &port]));
    wait_for("all to be given up", seconds(20), || {
        let threads = statuses(states.pid());
        let is_bare = |status: &String| {
            let held = ["CapEff", "CapPrm", "CapInh", "CapAmb"].map(|set| field(status, set));
            held == [0; 4] && field(status, "NoNewPrivs") == 1
        };
        (!threads.is_empty() && threads.iter().all(is_bare)).then_some(())
    });
    let arguments = ["--count", "5", "--rate", "5", "--recover-after", "1", "--for", "60", "--port", &port];
    let mut leaky = Leaky::start(&namespace, Language::C, way_named("eof_forget"), &arguments);
    leaky.recovered();
    let owner = format!("\"pid\":{}", leaky.pid());
    let shown = |states: &Child| states.stdout().lines().filter(|line| line.contains(&owner)).count();
    wait_for("transitions with their owner", seconds(10), || (shown(&states) >= 5).then_some(()));
}

#[test]
fn asking_an_agent_takes_no_capability() {
    needs(&["setpriv"]);
    let namespace = Netns::new();
    let (agent, leaky) = agent_and_leak(&namespace, &[]);
    let (_directory, program) = copy_of(&tlsclose(), "tlsclose");
    let mut command = with(&[]);
    command.args(["--reuid=65533", "--regid=65533", "--clear-groups"]).arg(program);
    let address = format!("http://127.0.0.1:{}", agent.port());
    let output = run(command.args(["leaks", "-o", "json", "--agent", &address]), seconds(10));
    assert_eq!(output.code, Some(0), "{output:?}");
    let report: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(sockets_of(&report, leaky.pid()), 4, "{report:#}");
}

#[test]
fn the_doctor_says_what_is_lost_without_each_capability() {
    needs(&["setpriv"]);
    let conclusion = |mut command: Command| {
        let output = run(command.arg(tlsclose()).args(["doctor", "-o", "json"]), seconds(20));
        let report: Value = serde_json::from_str(&output.stdout).expect("JSON");
        (output.code, report["conclusion"].as_str().expect("a conclusion").to_owned())
    };
    let (code, all) = conclusion(with(&of_unit()));
    assert_eq!(code, Some(0), "{all}");
    assert!(!all.contains("CAP_"), "{all}");
    for capability in of_unit().iter().filter(|one| Some(one.as_str()) != for_locked_memory()) {
        let (code, said) = conclusion(without(capability));
        let loads = matches!(&**capability, "CAP_BPF" | "CAP_PERFMON");
        if !loads {
            assert_eq!(code, Some(0), "{said}");
            assert!(said.starts_with("reduced: ") && said.contains(&format!("without {capability}, ")), "{said}");
        } else {
            assert_eq!(code, Some(1), "{said}");
            assert!(said.starts_with("cannot run: ") && said.contains(capability), "{said}");
        }
    }
}

#[test]
fn without_ptrace_a_leak_is_found_and_has_no_names() {
    needs(&["setpriv"]);
    let namespace = Netns::new();
    let mut command = without("CAP_SYS_PTRACE");
    command.arg(tlsclose());
    let agent = Agent::start_by(command, &[]);
    let start = |executable: &std::path::Path| as_another_user(&namespace, executable);
    let way = way_named("eof_forget");
    let mut leaky = Leaky::start_by(Language::C, way, &["--count", "4", "--for", "60"], start);
    leaky.ready();
    let site = wait_for_site(&agent, &leaky, 4);
    assert_eq!(site["kind"], way.kind, "{site:#}");
    // Without names, programs of other tests may be of the same site.
    assert_eq!(process_of(&site, leaky.pid()).expect("its process")["comm"], *leaky.comm, "{site:#}");
    // Newer kernels show the names of its files, but not what is in them.
    let mut frames = list(&site["opened"]["stack"]).chain(list(&site["touched"]["stack"]));
    assert!(frames.all(|frame| frame["function"].is_null() && frame["line"].is_null()), "{site:#}");
}

#[test]
fn without_reading_everything_a_leak_is_named_and_its_descriptors_are_not_counted() {
    needs(&["setpriv"]);
    let namespace = Netns::new();
    let mut command = without("CAP_DAC_READ_SEARCH");
    command.arg(tlsclose());
    let agent = Agent::start_by(command, &[]);
    let start = |executable: &std::path::Path| as_another_user(&namespace, executable);
    let mut leaky = Leaky::start_by(Language::C, way_named("eof_forget"), &["--count", "4", "--for", "60"], start);
    leaky.ready();
    let site = wait_for_site(&agent, &leaky, 4);
    assert_names_opening(&site, &leaky);
    assert!(site["processes"][0]["open_fds"].is_null(), "{site:#}");
}

/// It is another user's process: that takes CAP_KILL.
#[test]
fn a_helper_that_hangs_is_ended_and_replaced() {
    needs(&["setpriv"]);
    let namespace = Netns::new();
    let mut command = with(&of_unit());
    command.arg(tlsclose());
    let agent = Agent::start_by(command, &[]);
    let start = |way| Leaky::start(&namespace, Language::C, way_named(way), &["--count", "3", "--for", "60"]);
    let mut first = start("eof_forget");
    first.ready();
    wait_for_site(&agent, &first, 3);
    let helpers = agent.tree().split_off(1);
    assert!(!helpers.is_empty(), "no helper");
    for helper in &helpers {
        let helper = Pid::from_raw(*helper as i32).expect("a PID");
        kill_process(helper, Signal::STOP).expect("a running helper");
    }
    let mut second = start("client_forget");
    second.ready();
    wait_for_site(&agent, &second, 3);
    let is_gone = |pid: &u32| !fs::exists(format!("/proc/{pid}")).unwrap_or(false);
    wait_for("the stopped helpers to be gone", seconds(10), || helpers.iter().all(is_gone).then_some(()));
    // What it hung with is not asked again.
    let mut third = start("eof_forget");
    third.ready();
    assert_names_opening(&wait_for_site(&agent, &third, 3), &third);
}
