//! Who holds a socket now, when that is not who held it first, or not one process with one table of descriptors.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::child::Child;
use tlsclose_tests::expect::assert_at;
use tlsclose_tests::host::{leaky_c, needs, root, tool};
use tlsclose_tests::leaky::{Language, Leaky, Way};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{list, process_of, sites_of, sockets_of};
use tlsclose_tests::{seconds, wait_for};

const SOURCE: &str = "tests/leaky/c/hands.c";

const HANDS: Way = Way {
    name: "hands",
    kind: "close_wait_eof_read",
    state: "close_wait",
    recv_queue: 0,
    is_client: false,
    touched: None,
};

fn start(namespace: &Netns, way: &str, count: &str) -> Leaky {
    Leaky::start(namespace, Language::C, &HANDS, &["--way", way, "--count", count, "--for", "60"])
}

/// The only site of the process, once 5 sockets linger.
fn site_of(agent: &Agent, pid: u32) -> Value {
    agent.wait_for("5 sockets", seconds(20), |report| sockets_of(report, pid) == 5);
    agent.wait_for_censuses(2);
    let report = agent.leaks();
    let sites = sites_of(&report, pid);
    let [site] = sites[..] else { panic!("{sites:#?}") };
    assert_eq!((&site["kind"], &site["sockets"]), (&HANDS.kind.into(), &5.into()), "{site:#}");
    site.clone()
}

fn holders(example: &Value) -> Vec<(u64, &str)> {
    let of = |holder: &Value| holder["pid"].as_u64().expect("a PID");
    list(&example["holders"]).map(|holder| (of(holder), holder["comm"].as_str().unwrap_or_default())).collect()
}

fn assert_named(site: &Value) {
    for (which, name) in [("opened", "hands_accept"), ("touched", "hands_read")] {
        assert_at(&site[which]["stack"], SOURCE, name, &format!("hands {which}"));
    }
}

/// Sockets on the host that are not connected: those of other tests are few.
fn unconnected(agent: &Agent) -> f64 {
    agent.metrics().sum("tlsclose_sockets", &[("state", "close")]).unwrap_or(0.0)
}

/// Of a thousand sockets none counts twice. Other tests have some of their own meanwhile.
fn assert_counts_each_once(agent: &Agent, namespace: &Netns, way: &str) {
    let before = unconnected(agent);
    let mut many = start(namespace, way, "1000");
    many.ready();
    agent.wait_for("1000 sockets", seconds(30), |report| sockets_of(report, many.pid()) == 1000);
    let more = unconnected(agent) - before;
    assert!((900.0..1500.0).contains(&more), "{more}");
}

#[test]
fn two_processes_with_one_table_are_both_holders_and_their_sockets_count_once() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let mut leaky = start(&namespace, "table", "5");
    leaky.ready();
    let other: u64 = leaky.child().wait_for_line("other ", seconds(1)).parse().expect("a PID");
    let site = site_of(&agent, leaky.pid());
    let mut expected = [(u64::from(leaky.pid()), &*leaky.comm), (other, "leaky-other")];
    expected.sort_unstable();
    for example in list(&site["examples"]) {
        let mut holders = holders(example);
        holders.sort_unstable();
        assert_eq!(holders, expected, "{site:#}");
    }
    assert_named(&site);
    assert_counts_each_once(&agent, &namespace, "table");
}

#[test]
fn when_the_first_thread_ends_before_the_others_nothing_counts_more_than_once_and_all_is_named() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    for way in ["late_leader", "leader"] {
        let mut leaky = start(&namespace, way, "5");
        leaky.ready();
        let pid = leaky.pid();
        if way == "late_leader" {
            agent.wait_for("5 sockets", seconds(20), |report| sockets_of(report, pid) == 5);
            leaky.child().signal(Signal::USR1);
        }
        let state = || fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
        wait_for("the first thread to end", seconds(5), || state().contains(") Z ").then_some(()));
        let site = site_of(&agent, pid);
        for example in list(&site["examples"]) {
            assert_eq!(holders(example), [(u64::from(pid), &*leaky.comm)], "{site:#}");
        }
        assert_eq!(site["ended"]["process_exit"], 0, "{site:#}");
        let process = process_of(&site, pid).expect("its process");
        assert_eq!(process["exe"], leaky.executable().to_str().expect("UTF-8"), "{site:#}");
        assert_eq!(process["ns_pid"], pid, "{site:#}");
        assert!((8..30).contains(&process["open_fds"].as_u64().expect("a number")), "{site:#}");
        assert_named(&site);
    }
    assert_counts_each_once(&agent, &namespace, "leader");
}

/// More than a table for recently used ones would keep. Other tests have a few hundred connections meanwhile.
#[test]
fn of_very_many_shared_sockets_none_counts_twice() {
    needs(&["python3"]);
    let namespace = Netns::new();
    let agent = Agent::shared();
    let established = || agent.metrics().sum("tlsclose_sockets", &[("state", "established")]).unwrap_or(0.0);
    agent.wait_for_censuses(1);
    let before = established();
    let script = root().join("tests/leaky/python/shared_crowd.py");
    let mut crowd = Child::spawn(namespace.command(tool("python3")).arg(script).arg("6000"));
    assert_eq!(crowd.wait_for_line("ready ", seconds(20)), "12000");
    agent.wait_for_censuses(3);
    let more = established() - before;
    assert!((10_000.0..16_000.0).contains(&more), "{more}");
    let report = agent.leaks();
    assert!(list(&report["incomplete"]).all(|reason| reason != "shared_not_told_apart"), "{}", report["incomplete"]);
}

/// What a dead process has left to its child is the child's.
#[test]
fn sockets_that_outlive_their_process_are_counted_for_who_still_holds_them() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let mut leaky = start(&namespace, "heir", "5");
    leaky.ready();
    let [first, heir] =
        ["first ", "heir "].map(|name| leaky.child().wait_for_line(name, seconds(1)).parse::<u32>().expect("a PID"));
    let site = site_of(&agent, first);
    for example in list(&site["examples"]) {
        let expected = [(u64::from(first), &*leaky.comm), (u64::from(heir), "leaky-heir")];
        assert_eq!(holders(example), expected, "{site:#}");
    }
    leaky.child().signal(Signal::USR1);
    let of_heir = |report: &Value| (sockets_of(report, first), sockets_of(report, heir)) == (0, 5);
    let report = agent.wait_for("the heir's sockets", seconds(20), of_heir);
    let sites = sites_of(&report, heir);
    let [site] = sites[..] else { panic!("{sites:#?}") };
    assert_eq!(process_of(site, heir).expect("its process")["comm"], "leaky-heir", "{site:#}");
    assert_named(site);
    for example in list(&site["examples"]) {
        assert_eq!(holders(example), [(u64::from(heir), "leaky-heir")], "{site:#}");
    }
    let metrics = agent.metrics();
    let of = |name, comm: &str, how: &str| {
        let labels = [("comm", comm), ("how", how)];
        metrics.sum(name, &labels[..if how.is_empty() { 1 } else { 2 }]).unwrap_or(0.0)
    };
    let account = |comm: &str| {
        ["tlsclose_lingered_sockets_total", "tlsclose_lingering_ended_total", "tlsclose_lingering_sockets"]
            .map(|name| of(name, comm, ""))
    };
    assert_eq!(account(&leaky.comm), [5.0, 5.0, 0.0]);
    assert_eq!(account("leaky-heir"), [5.0, 0.0, 5.0]);
    assert_eq!(of("tlsclose_lingering_ended_total", &leaky.comm, "reclassified"), 5.0);
}

#[test]
fn a_process_that_becomes_another_program_by_a_call_of_any_thread_has_its_new_name() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let mut leaky = start(&namespace, "exec", "5");
    leaky.ready();
    let pid = leaky.pid();
    let site = site_of(&agent, pid);
    assert_eq!(process_of(&site, pid).expect("its process")["comm"], *leaky.comm, "{site:#}");
    leaky.child().signal(Signal::USR1);
    let is_sleep = |report: &Value| {
        let sites = sites_of(report, pid);
        sites.iter().all(|site| process_of(site, pid).is_some_and(|process| process["comm"] == "sleep"))
            && sockets_of(report, pid) == 5
    };
    agent.wait_for("its new name", seconds(20), is_sleep);
}

#[test]
fn a_launcher_whose_connection_was_seen_gives_the_program_that_it_becomes_no_name() {
    needs(&["python3"]);
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let directory = TempDir::new().expect("a directory");
    let go = directory.path().join("go");
    let mut launcher = namespace.command(tool("python3"));
    launcher.arg(root().join("tests/leaky/python/launcher.py")).arg(&go).arg(leaky_c());
    let mut launcher = Child::spawn(launcher.args(["eof_forget", "--count", "5", "--for", "60"]));
    launcher.wait_for_line("launches", seconds(10));
    let pid = launcher.pid();
    let has_aborted = |report: &Value| list(&report["aborted_sites"]).any(|site| process_of(site, pid).is_some());
    agent.wait_for("its reset", seconds(20), has_aborted);
    fs::write(&go, "").expect("a file");
    let report = agent.wait_for("its sockets", seconds(20), |report| sockets_of(report, pid) == 5);
    for site in sites_of(&report, pid) {
        let process = process_of(site, pid).expect("its process");
        assert_eq!(process["exe"], leaky_c().to_str().expect("UTF-8"), "{site:#}");
        assert_eq!(process["comm"], "leaky", "{site:#}");
    }
}
