//! A close() that does not close: who called it, and who holds the socket.

use std::time::Instant;

use serde_json::Value;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::child::Child;
use tlsclose_tests::expect::assert_at;
use tlsclose_tests::host::{fills_the_census, needs, needs_the_whole_census, root};
use tlsclose_tests::leaky::{Language, Leaky, Way};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{frames_in, function, line_in, list, sites_of, sockets_of};
use tlsclose_tests::{patient, seconds, wait_for};

const SOURCE: &str = "tests/leaky/c/shared.c";

const SHARED: Way = Way {
    name: "shared",
    kind: "close_wait_shared_fd",
    state: "close_wait",
    recv_queue: 0,
    is_client: false,
    touched: None,
};

/// A program that shares in this way, and its only site, once it has 5 sockets.
fn share(agent: &Agent, namespace: &Netns, way: &str) -> (Leaky, Value) {
    let arguments = ["--way", way, "--count", "5", "--for", "60"];
    let mut shared = Leaky::start(namespace, Language::C, &SHARED, &arguments);
    shared.ready();
    let port = format!(":{}", shared.port());
    let of_program = |site: &&Value| {
        list(&site["examples"]).any(|example| {
            example["local"].as_str().is_some_and(|local| local.ends_with(&port))
                && example["netns"] == namespace.inode()
        })
    };
    let sites = |report: &Value| list(&report["sites"]).filter(of_program).cloned().collect::<Vec<_>>();
    agent.wait_for(&format!("5 sockets shared by {way}"), seconds(20), |report| {
        sites(report).iter().filter_map(|site| site["sockets"].as_u64()).sum::<u64>() >= 5
    });
    agent.wait_for_censuses(2);
    let mut sites = sites(&agent.leaks());
    assert_eq!(sites.len(), 1, "{sites:#?}");
    let site = sites.remove(0);
    assert_eq!((&site["sockets"], &site["lingered"]), (&5.into(), &5.into()), "{site:#}");
    (shared, site)
}

fn line(what: &str) -> Option<u64> {
    Some(line_in(SOURCE, what))
}

/// The innermost frame of the program's own code.
fn place<'a>(stack: &'a Value, site: &Value) -> (&'a str, Option<u64>) {
    let frame = *frames_in(stack, SOURCE).first().unwrap_or_else(|| panic!("no frame of its own: {site:#}"));
    (function(frame), frame["line"].as_u64())
}

fn assert_closed_by(site: &Value, shared: &Leaky) {
    assert_ended_by(site, shared, ("shared_close", "shared closed"));
}

fn assert_ended_by(site: &Value, shared: &Leaky, (name, marker): (&str, &str)) {
    let elsewhere = &site["closed_elsewhere"];
    assert_eq!(
        (&elsewhere["pid"], &elsewhere["comm"]),
        (&shared.pid().into(), &shared.comm.as_str().into()),
        "{site:#}"
    );
    assert_eq!(place(&elsewhere["stack"], site), (name, line(marker)), "{site:#}");
    let why = site["why"].as_str().unwrap_or_default();
    assert!(why.contains(&format!("{}[{}] called close in {name}", shared.comm, shared.pid())), "{why}");
}

fn assert_held_by(site: &Value, holder: u32) {
    for example in list(&site["examples"]) {
        let pids: Vec<_> = list(&example["holders"]).map(|holder| &holder["pid"]).collect();
        assert_eq!(pids, [holder], "{site:#}");
        assert_eq!(example["holder_unknown"], Value::Null, "{site:#}");
    }
}

/// The program closed it, and the helper that it tells of holds it.
fn assert_given_to_its_helper(site: &Value, shared: &mut Leaky) {
    let helper = shared.child().wait_for_line("helper ", seconds(1)).parse().expect("a PID");
    assert_held_by(site, helper);
    assert_closed_by(site, shared);
}

fn assert_held_by_nobody_known(site: &Value) {
    for example in list(&site["examples"]) {
        assert_eq!(list(&example["holders"]).count(), 0, "{site:#}");
        assert_eq!(example["holder_unknown"], true, "{site:#}");
        assert_ne!(example["remote"], "0.0.0.0:0", "{site:#}");
    }
}

fn assert_opened(site: &Value) {
    assert_eq!(place(&site["opened"]["stack"], site), ("shared_accept", line("shared opened")), "{site:#}");
}

#[test]
fn a_socket_that_a_child_inherited_names_the_child_and_the_close_in_vain() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let (mut shared, site) = share(&agent, &namespace, "fork");
    assert_eq!(site["kind"], "close_wait_shared_fd", "{site:#}");
    assert_given_to_its_helper(&site, &mut shared);
    assert_opened(&site);
}

#[test]
fn a_socket_that_another_process_was_given_or_has_fetched_names_that_process_and_the_close_in_vain() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    for way in ["exec", "rights", "pidfd"] {
        let (mut shared, site) = share(&agent, &namespace, way);
        assert_eq!(site["kind"], "close_wait_shared_fd", "{way}: {site:#}");
        assert_given_to_its_helper(&site, &mut shared);
        assert_opened(&site);
        let holder = &site["examples"][0]["holders"][0];
        assert_eq!(holder["comm"] == "sleep", way == "exec", "{way}: {site:#}");
    }
}

#[test]
fn a_socket_that_was_duplicated_names_the_other_descriptor_and_what_was_closed_twice() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let (shared, site) = share(&agent, &namespace, "dup");
    assert_eq!(site["kind"], "close_wait_shared_fd", "{site:#}");
    assert_held_by(&site, shared.pid());
    assert_closed_by(&site, &shared);
    let bad = &site["processes"][0]["bad_closes"];
    assert_eq!(bad["calls"], 5, "{site:#}");
    assert_eq!(place(&bad["stack"], &site), ("shared_close", line("shared closed")), "{site:#}");
    let calls = |result| agent.metrics().sum("tlsclose_close_calls_total", &[("result", result)]).unwrap_or(0.0);
    assert!(calls("still_held") >= 5.0 && calls("bad_fd") >= 5.0, "{:?}", agent.metrics());
}

#[test]
fn close_range_and_dup2_are_calls_of_close_too() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let calls =
        [("range", ("shared_close_range", "shared closed range")), ("replace", ("shared_replace", "shared replaced"))];
    let still_held = || agent.metrics().sum("tlsclose_close_calls_total", &[("result", "still_held")]).unwrap_or(0.0);
    for (way, place) in calls {
        let before = still_held();
        let (shared, site) = share(&agent, &namespace, way);
        assert_eq!(site["kind"], "close_wait_shared_fd", "{site:#}");
        assert_held_by(&site, shared.pid());
        assert_ended_by(&site, &shared, place);
        assert!(still_held() >= before + 5.0, "{way}");
    }
}

#[test]
fn a_child_that_read_the_end_and_forgot_is_to_blame_and_not_its_parent() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let (mut shared, site) = share(&agent, &namespace, "handler");
    assert_eq!(site["kind"], "close_wait_eof_read", "{site:#}");
    assert_given_to_its_helper(&site, &mut shared);
    assert_eq!(place(&site["touched"]["stack"], &site), ("shared_read", line("shared read")), "{site:#}");
}

/// A close() is to blame only for what nobody has used since.
#[test]
fn a_copy_that_was_used_after_the_close_is_what_leaks_and_the_close_is_evidence() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    for way in ["use", "server"] {
        let (mut shared, site) = share(&agent, &namespace, way);
        assert_eq!(site["kind"], "close_wait_unread", "{way}: {site:#}");
        assert_closed_by(&site, &shared);
        let holder = match way {
            "use" => shared.pid(),
            _ => shared.child().wait_for_line("helper ", seconds(1)).parse().expect("a PID"),
        };
        assert_held_by(&site, holder);
    }
}

/// Kernels before 5.15 are not asked to walk a map: then the agent says so, and nothing else.
fn looks_for_unheld(agent: &Agent) -> bool {
    let available = agent.metrics().sum("tlsclose_feature", &[("feature", "unheld_sockets")]);
    let unheld = agent.metrics().sum("tlsclose_unheld_sockets", &[]);
    assert!(available == Some(1.0) || (available == Some(0.0) && unheld == Some(0.0)), "{available:?}, {unheld:?}");
    available == Some(1.0)
}

#[test]
fn sockets_in_flight_or_registered_with_io_uring_are_held_by_an_unknown_holder() {
    let _room = needs_the_whole_census();
    let namespace = Netns::new();
    let agent = Agent::shared();
    if !looks_for_unheld(&agent) {
        return;
    }
    for way in ["in_flight", "ring"] {
        let (shared, site) = share(&agent, &namespace, way);
        assert_eq!(site["kind"], "close_wait_shared_fd", "{site:#}");
        assert_held_by_nobody_known(&site);
        assert_closed_by(&site, &shared);
        assert_opened(&site);
        assert_eq!(site["processes"][0]["pid"], shared.pid(), "{site:#}");
        let unheld = agent.metrics().sum("tlsclose_unheld_sockets", &[]);
        assert!(unheld >= Some(5.0), "{unheld:?}");
    }
}

/// One census can write out 100 of them.
#[test]
fn of_more_unheld_sockets_than_fit_the_same_stay_and_the_count_says_that_some_are_missing() {
    let _room = fills_the_census();
    let namespace = Netns::new();
    let agent = Agent::start();
    if !looks_for_unheld(&agent) {
        return;
    }
    let unheld = || agent.metrics().sum("tlsclose_unheld_sockets", &[]).unwrap_or(0.0);
    let mut programs = Vec::new();
    for expected in [150.0, 300.0] {
        let arguments = ["--way", "in_flight", "--count", "150", "--for", "60"];
        let mut shared = Leaky::start(&namespace, Language::C, &SHARED, &arguments);
        shared.ready();
        wait_for("all to be counted", seconds(20), || (unheld() >= expected).then_some(()));
        programs.push(shared);
        agent.wait_for_censuses(8);
    }
    let report = agent.leaks();
    assert_eq!(report["complete"], false, "{report:#}");
    let sockets: u64 = programs.iter().map(|program| sockets_of(&report, program.pid())).sum();
    assert!((1..=100).contains(&sockets), "{sockets}");
    for program in &programs {
        let ended = agent.metrics().sum("tlsclose_lingering_ended_total", &[("comm", &*program.comm)]);
        assert!(matches!(ended, None | Some(0.0)), "none has ended: {ended:?}");
    }
}

/// A client of MPTCP that fell back to TCP: the descriptor leads to the one, and what is half-closed is the other.
#[test]
fn a_socket_below_another_is_held_by_an_unknown_holder_and_named_by_its_opener() {
    let _room = needs_the_whole_census();
    const SOURCE: &str = "tests/leaky/python/mptcp.py";
    let allowed = std::fs::read_to_string("/proc/sys/net/mptcp/enabled").is_ok_and(|enabled| enabled.trim() == "1");
    if !allowed {
        return;
    }
    needs(&["python3"]);
    let namespace = Netns::new();
    let agent = Agent::shared();
    if !looks_for_unheld(&agent) {
        return;
    }
    let mut python = namespace.command("/usr/bin/python3");
    python.arg("-B").arg(root().join(SOURCE)).args(["--count", "5", "--for", "60"]);
    let mut client = Child::spawn(&mut python);
    client.wait_for_line("ready ", seconds(20));
    let report = agent.wait_for("5 sockets", seconds(20), |report| sockets_of(report, client.pid()) == 5);
    for site in sites_of(&report, client.pid()) {
        assert_eq!(site["kind"], "close_wait_eof_read", "{site:#}");
        assert_held_by_nobody_known(site);
        if site["site"] != "unsampled" {
            assert_at(&site["opened"]["stack"], SOURCE, "connect", "mptcp opened");
        }
    }
}

#[test]
fn a_thread_that_waits_on_a_closed_socket_is_named() {
    let _room = needs_the_whole_census();
    let namespace = Netns::new();
    let agent = Agent::shared();
    if !looks_for_unheld(&agent) {
        return;
    }
    for (way, call) in [("thread", "recvfrom"), ("splice", "splice")] {
        assert_blocked(share(&agent, &namespace, way), call);
    }
}

fn assert_blocked((shared, site): (Leaky, Value), call: &str) {
    assert_eq!(site["kind"], "fin_wait2_held", "{site:#}");
    assert_held_by_nobody_known(&site);
    let elsewhere = &site["closed_elsewhere"];
    assert_eq!(elsewhere["pid"], shared.pid(), "{site:#}");
    assert_eq!(place(&elsewhere["stack"], &site), ("shared_close", line("shared closed")), "{site:#}");
    for example in list(&site["examples"]) {
        let [thread] = &list(&example["blocked_threads"]).collect::<Vec<_>>()[..] else { panic!("{site:#}") };
        assert_eq!((&thread["pid"], &thread["call"]), (&shared.pid().into(), &call.into()), "{site:#}");
        let tid = thread["tid"].as_u64().expect("a number");
        let comm = std::fs::read_to_string(format!("/proc/{}/task/{tid}/comm", shared.pid()));
        assert_eq!(comm.expect("the thread"), "leaky-blocked\n");
    }
}

/// As `sshd` and all servers do that fork.
#[test]
fn what_is_shared_on_purpose_is_no_finding_until_the_last_close_is_overdue() {
    let namespace = Netns::new();
    let agent = Agent::start_with(&[&format!("--leak-after={}s", patient(seconds(8)).as_secs())]);
    let arguments = ["--way", "fork", "--count", "5", "--for", "60"];
    let mut shared = Leaky::start(&namespace, Language::C, &SHARED, &arguments);
    shared.ready();
    let closed = Instant::now();
    let sockets = |report: &Value| -> u64 {
        let held = |site: &&Value| list(&site["processes"]).any(|process| process["comm"] == *shared.comm);
        list(&report["sites"]).filter(held).filter_map(|site| site["sockets"].as_u64()).sum()
    };
    while closed.elapsed() < seconds(5) {
        assert_eq!(sockets(&agent.leaks()), 0);
        std::thread::sleep(std::time::Duration::from_millis(250));
    }
    agent.wait_for("the last close to be overdue", seconds(20), |report| sockets(report) == 5);
}

#[test]
fn without_close_calls_nobody_is_said_to_have_closed() {
    let namespace = Netns::new();
    let agent = Agent::start_with(&["--close-calls=off"]);
    let (_shared, site) = share(&agent, &namespace, "dup");
    assert_eq!(site["kind"], "close_wait_eof_read", "{site:#}");
    assert_eq!(site["closed_elsewhere"], Value::Null, "{site:#}");
    assert_eq!(agent.metrics().sum("tlsclose_close_calls_total", &[]), Some(0.0));
}
