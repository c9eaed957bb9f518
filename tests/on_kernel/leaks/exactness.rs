//! The counts are exact, whatever else happens on the host.

use std::fs::{self, DirEntry};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::child::{Child, run};
use tlsclose_tests::expect::assert_at;
use tlsclose_tests::host::{needs, needs_the_whole_census, tool};
use tlsclose_tests::leaky::{Language, Leaky, Way, way_named};
use tlsclose_tests::metrics::Metrics;
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{frames_in, function, list, process_of, sites_of, sockets_of};
use tlsclose_tests::{seconds, wait_for};

/// `TLSCLOSE_TEST_CONNECTIONS=1000000` makes it the test of the documentation; it takes minutes.
fn connections() -> u64 {
    std::env::var("TLSCLOSE_TEST_CONNECTIONS").ok().and_then(|number| number.parse().ok()).unwrap_or(100_000)
}

const LEAKS: u64 = 1000;
const PER_SECOND: u64 = 5000;

/// The sum over all sites of a process, but for its accept queue: on a busy host connections wait there, too.
fn total(report: &Value, pid: u32, field: &str) -> u64 {
    let is_held = |site: &&Value| site["kind"] != "close_wait_not_accepted";
    sites_of(report, pid).into_iter().filter(is_held).filter_map(|site| site[field].as_u64()).sum()
}

#[test]
fn a_thousand_leaks_in_a_churn_are_a_thousand_also_for_an_agent_that_comes_later() {
    let _room = needs_the_whole_census();
    let namespace = Netns::new();
    let first = Agent::start();
    let count = connections();
    let (count_text, every) = (count.to_string(), (count / LEAKS).to_string());
    let (rate, span) = (PER_SECOND.to_string(), (60 + 4 * count / PER_SECOND).to_string());
    let arguments = ["--count", &count_text, "--rate", &rate, "--leak-every", &every, "--for", &span];
    let leaky = Leaky::start(&namespace, Language::C, way_named("eof_forget"), &arguments);
    let pid = leaky.pid();
    let allowed = seconds(30 + 3 * count / PER_SECOND);
    first.wait_for("half of the leaks", allowed, |report| sockets_of(report, pid) >= LEAKS / 2);
    let later = Agent::start();
    for agent in [&first, &later] {
        agent.wait_for("all leaks", allowed, |report| sockets_of(report, pid) >= LEAKS);
        agent.wait_for_censuses(4);
    }
    for (agent, from_the_start) in [(&first, true), (&later, false)] {
        let report = agent.leaks();
        assert_eq!(total(&report, pid, "sockets"), LEAKS, "{report:#}");
        let (lingered, adopted) = (total(&report, pid, "lingered"), total(&report, pid, "adopted"));
        assert_eq!(lingered + adopted, LEAKS, "{report:#}");
        assert_eq!(adopted == 0, from_the_start, "{adopted}");
        assert_lost_nothing(&report);
    }
}

/// Where programs get no processor for a while, connections wait in their accept queues: the rest of a long one is in no
/// site, and that is all that may be missing.
fn assert_lost_nothing(report: &Value) {
    let reasons = report["incomplete"].as_array().expect("the reasons");
    assert!(reasons.iter().all(|reason| reason == "accept_queue_cut"), "{report:#}");
    assert_eq!(report["complete"], reasons.is_empty(), "{report:#}");
}

/// The namespaces' own PIDs of a process, outermost first.
fn pids(pid: u64) -> Vec<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:")).expect("NSpid");
    line.split_whitespace().map(|pid| pid.parse().expect("a PID")).collect()
}

#[test]
fn a_process_in_nested_namespaces_has_the_hosts_pid_and_its_own() {
    needs(&["unshare"]);
    let namespace = Netns::new();
    let agent = Agent::start();
    let arguments = ["--count", "5", "--for", "40"];
    let mut leaky = Leaky::start_by(Language::C, way_named("client_forget"), &arguments, |program| -> Command {
        let mut command = namespace.command(tool("unshare"));
        command.args(["--pid", "--fork", "--kill-child"]);
        command.args(["unshare", "--pid", "--mount", "--user", "--map-root-user", "--fork", "--kill-child"]);
        command.arg("--mount-proc").arg(program);
        command
    });
    leaky.ready();
    let comm = leaky.comm.clone();
    let process_of = |report: &Value| {
        let mut all = list(&report["sites"]).flat_map(|site| list(&site["processes"]));
        all.find(|process| process["comm"] == comm && process["sockets"] == 5).cloned()
    };
    let report = agent.wait_for("5 sockets", seconds(20), |report| process_of(report).is_some());
    let process = process_of(&report).expect("its process");
    let pid = process["pid"].as_u64().expect("a PID");
    let pids = pids(pid);
    assert_eq!(pids.len(), 3, "{pids:?}");
    assert_eq!((pids[0], Some(pids[2])), (pid, process["ns_pid"].as_u64()), "{process:#}");
    assert_eq!(process["exe"], leaky.executable().to_str().expect("UTF-8"), "{process:#}");
}

const AGAIN: &str = "tests/leaky/c/again.c";

/// A program that leaks, and on SIGUSR1 leaks again with what the first leak left free.
fn again(namespace: &Netns, way: &str, count: &str) -> (Leaky, u32) {
    let named = Way {
        name: "again",
        kind: "close_wait_eof_read",
        state: "close_wait",
        recv_queue: 0,
        is_client: false,
        touched: None,
    };
    let mut leaky = Leaky::start(namespace, Language::C, &named, &["--way", way, "--count", count, "--for", "60"]);
    let pid = leaky.child().wait_for_line("first ", seconds(10)).parse().expect("a PID");
    (leaky, pid)
}

/// Every socket of the process was opened here.
fn assert_opened(report: &Value, pid: u32, which: &str) {
    for site in sites_of(report, pid) {
        assert_at(&site["opened"]["stack"], AGAIN, &format!("again_accept_{which}"), &format!("again {which}"));
    }
}

/// What lingered, what of it ended, and what lingers still, of all series of a command name.
fn account(metrics: &Metrics, comm: &str, how: &str) -> [f64; 3] {
    let sum = |name, labels: &[(&str, &str)]| metrics.sum(name, labels).unwrap_or(0.0);
    [
        sum("tlsclose_lingered_sockets_total", &[("comm", comm)]),
        sum("tlsclose_lingering_ended_total", &[("comm", comm), ("how", how)]),
        sum("tlsclose_lingering_sockets", &[("comm", comm)]),
    ]
}

#[test]
fn a_process_that_gets_the_pid_of_another_has_its_own_name_and_account() {
    let namespace = Netns::new();
    let agent = Agent::start();
    let (mut leaky, pid) = again(&namespace, "pid", "6");
    let [first, second] = ["-1", "-2"].map(|suffix| format!("{}{suffix}", leaky.comm));
    let has = |report: &Value, comm: &str| {
        let sites = sites_of(report, pid);
        sockets_of(report, pid) == 6 && sites.iter().all(|site| process_of(site, pid).unwrap()["comm"] == comm)
    };
    agent.wait_for("the first", seconds(20), |report| has(report, &first));
    leaky.child().signal(Signal::USR1);
    let reborn: u32 = leaky.child().wait_for_line("second ", seconds(10)).parse().expect("a PID");
    assert_eq!(reborn, pid);
    let report = agent.wait_for("the second", seconds(20), |report| has(report, &second));
    assert_opened(&report, pid, "second");
    wait_for("both accounts", seconds(20), || {
        let metrics = agent.metrics();
        let accounts = [account(&metrics, &first, "process_exit"), account(&metrics, &second, "process_exit")];
        (accounts == [[6.0, 6.0, 0.0], [6.0, 0.0, 6.0]]).then_some(())
    });
}

#[test]
fn a_socket_at_the_address_of_another_is_another() {
    let namespace = Netns::new();
    let agent = Agent::start();
    let (mut leaky, pid) = again(&namespace, "address", "40");
    let lingers = |report: &Value| sockets_of(report, pid) == 40;
    let report = agent.wait_for("the first", seconds(20), lingers);
    assert_opened(&report, pid, "first");
    leaky.child().signal(Signal::USR1);
    let reused: u32 = leaky.child().wait_for_line("reused ", seconds(10)).parse().expect("a number");
    assert!(reused > 0, "the kernel gave out no address again: this proves nothing");
    leaky.child().wait_for_line("second ", seconds(10));
    let report = agent.wait_for("the second", seconds(20), |report| {
        lingers(report) && agent.metrics().sum("tlsclose_lingering_ended_total", &[("comm", &leaky.comm)]) == Some(40.0)
    });
    assert_opened(&report, pid, "second");
    assert_eq!(account(&agent.metrics(), &leaky.comm, "closed"), [80.0, 40.0, 40.0], "{reused} addresses reused");
}

const CROSSING: Way = Way {
    name: "crossing",
    kind: "close_wait_unread",
    state: "close_wait",
    recv_queue: 5,
    is_client: false,
    touched: None,
};
/// Sockets that are closed at once, and how often that is tried.
const CLOSED_AT_ONCE: u32 = 20;
const ROUNDS: u32 = 60;

/// The agent's thread that takes the censuses.
fn walker(agent: &Agent) -> String {
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).expect("threads").flatten();
    let name = |task: &DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    let watch = tasks.into_iter().find(|task| name(task) == "watch\n").expect("its thread");
    watch.file_name().into_string().expect("a number")
}

/// The walk over all descriptors holds each file for a moment. A program that closes a socket just then leaves the
/// last reference, and with it the end of the connection, to the agent.
#[test]
fn a_close_that_the_census_finishes_is_in_the_account_and_not_the_agents() {
    let namespace = Netns::new();
    let agent = Agent::start_with(&["--leak-after=100ms", "--census-interval=100ms"]);
    let (walker, count) = (walker(&agent), CLOSED_AT_ONCE.to_string());
    let arguments = ["--way", &walker, "--processes", "400", "--count", &count, "--for", "150"];
    let mut crossing = Leaky::start(&namespace, Language::C, &CROSSING, &arguments);
    let comm = crossing.comm.clone();
    let resets = |comm: &str| {
        let labels = [("comm", comm), ("cause", "unread_data")];
        agent.metrics().sum("tlsclose_aborted_closes_total", &labels).unwrap_or(0.0)
    };
    // Other agents, as those of other tests, take censuses too: to this one they are programs as all others.
    let others = || resets("") + resets("tlsclose");
    let lingers = |rounds: u32| {
        let each = f64::from(CLOSED_AT_ONCE);
        let expected = [each * f64::from(rounds + 1), each * f64::from(rounds), each];
        wait_for("the account", seconds(20), || (account(&agent.metrics(), &comm, "closed") == expected).then_some(()));
    };
    let others_before = others();
    let finished_by_the_census = (0..ROUNDS).find_map(|round| {
        crossing.child().wait_for_line(&format!("round {round}"), seconds(20));
        lingers(round);
        crossing.child().signal(Signal::USR1);
        crossing.child().wait_for_line(&format!("round {}", round + 1), seconds(20));
        lingers(round + 1);
        // What a close by the program resets is counted by then.
        let missing = f64::from(CLOSED_AT_ONCE * (round + 1)) - resets(&comm);
        assert!(missing >= 0.0, "{missing}");
        (missing > 0.0).then_some(missing)
    });
    let finished = finished_by_the_census.expect("no close met the census: this proves nothing");
    assert!(others() - others_before >= finished, "{finished} are nobody's");
    let report = agent.leaks();
    let ends = list(&report["aborted_sites"]).flat_map(|site| list(&site["processes"]));
    assert_eq!(ends.filter(|process| process["pid"] == agent.pid()).count(), 0, "{report:#}");
    for site in list(&report["sites"]).filter(|site| site["processes"][0]["comm"] == *comm) {
        let closed = frames_in(&site["usual_close"]["stack"], "tests/leaky/c/crossing.c");
        let innermost = closed.first().unwrap_or_else(|| panic!("no usual close: {site:#}"));
        assert_eq!(function(innermost), "crossing_close", "{site:#}");
    }
}

/// Programs of the kernel side are not run while the same one is at work on that processor. That happens
/// where packets interrupt system calls, as those of another processor's cable do.
#[test]
fn events_that_the_kernel_skips_are_counted_and_cost_no_socket() {
    let _room = needs_the_whole_census();
    needs(&["nginx", "wrk"]);
    let (here, there, quiet) = (Netns::new(), Netns::new(), Netns::new());
    let all = (1u64 << std::thread::available_parallelism().map_or(1, usize::from).min(32)) - 1;
    let agent = Agent::start();
    here.ip(&format!("link add cable0 type veth peer name cable1 netns {}", there.name()));
    for (namespace, device, address) in [(&here, "cable0", "10.79.0.1/24"), (&there, "cable1", "10.79.0.2/24")] {
        namespace.ip(&format!("addr add {address} dev {device}"));
        namespace.ip(&format!("link set {device} up"));
        let steer = format!("echo {all:x} > /sys/class/net/{device}/queues/rx-0/rps_cpus");
        let steered =
            run(Command::new(tool("ip")).args(["netns", "exec", namespace.name(), "sh", "-c", &steer]), seconds(5));
        assert_eq!(steered.code, Some(0), "{steered:?}");
    }
    let directory = TempDir::new().expect("a directory");
    let configuration = format!(
        "user root; daemon off; worker_processes 2; pid {0}/pid; error_log stderr;
         events {{ worker_connections 256; }}
         http {{ access_log off; keepalive_timeout 0; client_body_temp_path {0}/body; proxy_temp_path {0}/proxy;
           fastcgi_temp_path {0}/fastcgi; uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;
           server {{ listen 10.79.0.1:8086; location / {{ return 200; }} }} }}",
        directory.path().display()
    );
    let file = directory.path().join("nginx.conf");
    fs::write(&file, configuration).expect("a configuration");
    let _nginx = Child::spawn(here.command(tool("nginx")).args(["-e", "stderr", "-c"]).arg(&file));
    here.wait_for_listener(8086);
    let wrk = ["-t2", "-c32", "-d40s", "http://10.79.0.1:8086/"];
    let _load = Child::spawn(there.command(tool("wrk")).args(wrk));
    let arguments = ["--count", "500", "--rate", "100", "--for", "60"];
    let mut leaky = Leaky::start(&quiet, Language::C, way_named("eof_forget"), &arguments);
    leaky.ready();
    let pid = leaky.pid();
    agent.wait_for("all leaks", seconds(20), |report| sockets_of(report, pid) == 500);
    let skipped = [("what", "events"), ("reason", "recursion")];
    wait_for("an event that is skipped", seconds(20), || {
        (agent.metrics().sum("tlsclose_lost_total", &skipped) > Some(0.0)).then_some(())
    });
    agent.wait_for_censuses(3);
    let report = agent.leaks();
    assert_eq!((sockets_of(&report, pid), total(&report, pid, "lingered")), (500, 500), "{report:#}");
    assert_lost_nothing(&report);
}
