//! Established connections whose peer is gone: information, and no leak.

use serde_json::{Value, json};
use tlsclose_tests::agent::{Agent, tlsclose_command};
use tlsclose_tests::child::run;
use tlsclose_tests::expect::assert_at;
use tlsclose_tests::host::needs;
use tlsclose_tests::leaky::{Language, Leaky, Way, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{list, sites_of};
use tlsclose_tests::{seconds, wait_for};

const SOURCE: &str = "tests/leaky/c/aborts.c";

const HALF_OPEN: Way =
    Way { name: "aborts", kind: "half_open", state: "established", recv_queue: 0, is_client: false, touched: None };

fn start(namespace: &Netns, way: &str) -> Leaky {
    Leaky::start(namespace, Language::C, &HALF_OPEN, &["--way", way, "--count", "5", "--for", "60"])
}

/// The sites in which the process holds half-open connections.
fn half_open_of(report: &Value, pid: u32) -> Vec<&Value> {
    let has = |site: &&Value| list(&site["processes"]).any(|process| process["pid"] == pid);
    list(&report["half_open_sites"]).filter(has).collect()
}

/// All five, for this reason, at the line that accepted them, and nothing lingers.
fn assert_found(agent: &Agent, silent: &mut Leaky, reason: &str) -> Value {
    silent.ready();
    let pid = silent.pid();
    let is_so = |report: &Value| half_open_of(report, pid).iter().any(|site| site["reasons"] == json!({reason: 5}));
    let report = agent.wait_for(&format!("5 {reason}"), seconds(20), is_so);
    let sites = half_open_of(&report, pid);
    let [site] = sites[..] else { panic!("{} sites: {sites:#?}", sites.len()) };
    assert_eq!((&site["sockets"], &site["processes"][0]["sockets"]), (&5.into(), &5.into()), "{site:#}");
    assert_at(&site["opened"]["stack"], SOURCE, "abort_accept", "aborts opened");
    for example in list(&site["examples"]) {
        assert_eq!(example["holder"]["pid"], pid, "{site:#}");
        assert!(example["local"].as_str().is_some_and(|local| local.ends_with(&format!(":{}", silent.port()))));
    }
    let labels = [("comm", &*silent.comm), ("reason", reason)];
    assert_eq!(agent.metrics().sum("tlsclose_half_open_sockets", &labels), Some(5.0));
    assert_eq!(sites_of(&report, pid).len(), 0, "information only: {report:#}");
    site.clone()
}

#[test]
fn data_that_nobody_acknowledges_is_told_from_probes_that_nobody_answers() {
    let agent = Agent::shared();
    let (first, second) = (Netns::new(), Netns::new());
    let mut unacknowledged = start(&first, "unacknowledged");
    let site = assert_found(&agent, &mut unacknowledged, "unacknowledged");
    for example in list(&site["examples"]) {
        assert!(example["retransmissions"].as_u64() >= Some(3), "{site:#}");
        assert_eq!(example["send_queue"], "nobody hears".len(), "{site:#}");
    }
    let mut probing = start(&second, "probes_unanswered");
    let site = assert_found(&agent, &mut probing, "probes_unanswered");
    for example in list(&site["examples"]) {
        assert_eq!((&example["retransmissions"], &example["send_queue"]), (&0.into(), &0.into()), "{site:#}");
        assert!(example["silent_seconds"].as_f64() >= Some(2.0), "{site:#}");
    }
}

#[test]
fn idle_connections_without_keepalive_are_shown_when_asked_for() {
    let namespace = Netns::new();
    let agent = Agent::start_with(&["--idle-after=3s"]);
    let mut idle = start(&namespace, "idle");
    let site = assert_found(&agent, &mut idle, "idle");
    for example in list(&site["examples"]) {
        assert!(example["silent_seconds"].as_f64() >= Some(3.0), "{site:#}");
    }
    let mut command = tlsclose_command(&["leaks", "--kind", "half_open", "-c", &idle.comm, "--socket"]);
    let shown = run(command.arg(agent.socket()), seconds(10)).stdout;
    for part in ["half_open  5 sockets", "idle 5", "abort_accept", "Set SO_KEEPALIVE"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn connections_that_are_only_quiet_are_not_half_open() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let mut idle = start(&namespace, "idle");
    let mut healthy =
        Leaky::start(&namespace, Language::C, way_named("eof_forget"), &["--count", "100", "--healthy", "--for", "30"]);
    idle.ready();
    healthy.ready();
    // What is older than the 2 s of `--leak-after` would show by then.
    agent.wait_for_censuses(10);
    let report = agent.leaks();
    assert_eq!(half_open_of(&report, idle.pid()).len(), 0, "{report:#}");
    assert_eq!(half_open_of(&report, healthy.pid()).len(), 0, "{report:#}");
}

#[test]
fn cookies_and_tracked_connections_are_counted() {
    needs(&["sysctl"]);
    let namespace = Netns::new();
    let always = run(namespace.command("sysctl").args(["-w", "net.ipv4.tcp_syncookies=2"]), seconds(10));
    assert_eq!(always.code, Some(0), "{always:?}");
    // Through this one the agent knows the namespace.
    let mut resident = start(&namespace, "idle");
    resident.ready();
    let agent = Agent::start();
    let cookies = || agent.metrics().sum("tlsclose_syncookies_sent_total", &[]).unwrap_or(0.0);
    agent.wait_for_censuses(1);
    let before = cookies();
    let mut more = start(&namespace, "idle");
    more.ready();
    wait_for("5 cookies", seconds(10), || (cookies() >= before + 5.0).then_some(()));
    let tracked = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").ok();
    let limit = tracked.map(|text| text.trim().parse::<f64>().expect("a number"));
    assert_eq!(agent.metrics().sum("tlsclose_conntrack_limit", &[]), limit);
}
