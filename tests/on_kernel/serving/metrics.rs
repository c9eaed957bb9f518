//! The metrics, as Prometheus and its tools take them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use tempfile::TempDir;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::child::{Child, run};
use tlsclose_tests::host::{leaky_c, needs, unique_comm};
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::metrics::Metrics;
use tlsclose_tests::netns::Netns;
use tlsclose_tests::prometheus::Prometheus;
use tlsclose_tests::report::sockets_of;
use tlsclose_tests::{seconds, wait_for};

use crate::{agent_and_leak, shared_agent_and_leak};

#[test]
fn metrics_are_text_unless_the_client_prefers_openmetrics() {
    let namespace = Netns::new();
    let (agent, leaky) = shared_agent_and_leak(&namespace);
    let openmetrics = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let get = |headers: &[(&str, &str)]| agent.tcp().request("GET", "/metrics", headers).unwrap();
    for headers in [&[][..], &[("Accept", "*/*")], &[("Accept", "text/plain")]] {
        let answer = get(headers);
        assert_eq!(answer.status, 200);
        let kind = answer.header("content-type");
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{headers:?}: {kind}");
        assert!(!answer.body.contains("# EOF"));
        let own = [("comm", &*leaky.comm)];
        let sockets = Metrics::parse(&answer.body).sum("tlsclose_lingering_sockets", &own);
        assert_eq!(sockets, Some(4.0));
    }
    let answer = get(&[("Accept", openmetrics)]);
    let kind = answer.header("content-type");
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    assert!(answer.body.ends_with("# EOF\n"));
}

#[test]
fn every_state_is_there_at_zero_and_nothing_names_a_pid_or_an_address() {
    let namespace = Netns::new();
    let (agent, mut leaky) = agent_and_leak(&namespace, &[]);
    let text = agent.tcp().get("/metrics").unwrap().body;
    let metrics = Metrics::parse(&text);
    let states = [
        "established",
        "syn_sent",
        "syn_recv",
        "fin_wait1",
        "fin_wait2",
        "time_wait",
        "close",
        "close_wait",
        "last_ack",
        "listen",
        "closing",
    ];
    for state in states {
        let samples = metrics.select("tlsclose_sockets", &[("state", state)]);
        assert_eq!(samples.len(), 1, "{state}");
    }
    assert_eq!(metrics.select("tlsclose_sockets", &[]).len(), states.len());
    assert!(metrics.sum("tlsclose_sockets", &[("state", "close_wait")]) >= Some(4.0));
    assert!(!text.contains("127.0.0.1"), "an address");
    let (pid, port) = (leaky.pid().to_string(), leaky.port().to_string());
    for sample in &metrics.0 {
        let names_it = |value: &String| *value == pid || *value == port || *value == "pid";
        assert!(!sample.labels.values().any(names_it), "{sample:?}");
        assert!(!sample.labels.contains_key("pid"), "{sample:?}");
    }
}

#[test]
fn promtool_has_nothing_to_say() {
    needs(&["promtool"]);
    let namespace = Netns::new();
    let (agent, _leaky) = shared_agent_and_leak(&namespace);
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("metrics");
    fs::write(&file, agent.tcp().get("/metrics").unwrap().body).expect("a file");
    let check = "promtool check metrics < \"$0\"";
    let output = run(Command::new("sh").args(["-c", check]).arg(file), seconds(10));
    let said = (output.code, &*output.stdout, &*output.stderr);
    assert_eq!(said, (Some(0), "", ""));
}

#[test]
fn prometheus_scrapes_it() {
    needs(&["prometheus"]);
    let namespace = Netns::new();
    let (agent, leaky) = shared_agent_and_leak(&namespace);
    let prometheus = Prometheus::start(agent.port(), "");
    let value = |expression: &str| Some(prometheus.query(expression)?.first()?["value"][1].clone());
    for name in ["tlsclose_lingering_sockets", "tlsclose_lingered_sockets_total"] {
        let expression = format!("{name}{{comm=\"{}\"}}", leaky.comm);
        assert_eq!(wait_for(name, seconds(30), || value(&expression)), "4", "{name}");
    }
    assert_eq!(value("up").expect("a scrape"), "1");
}

/// Whatever programs call themselves: those beyond the bound are one, in every family.
#[test]
fn no_family_has_more_workloads_than_it_may() {
    // Two identities, kinds and sites, and two programs.
    let (namespace, agent) = (Netns::new(), Agent::start_with(&["--max-series=20"]));
    let start =
        |way: &'static str| Leaky::start(&namespace, Language::C, way_named(way), &["--count", "1", "--for", "60"]);
    let programs: Vec<Leaky> =
        ["eof_forget", "never_read", "half_close", "reset_forget", "client_forget"].map(start).into();
    let mut stuck = Vec::new();
    for mut leaky in programs {
        leaky.ready();
        agent.wait_for("its socket", seconds(20), |report| sockets_of(report, leaky.pid()) >= 1);
        let queue = ["queue", "--count", "4", "--for", "60", "--comm"];
        let queue = Child::spawn(namespace.command(leaky_c()).args(queue).arg(unique_comm()));
        stuck.push((leaky, queue));
    }
    let workloads = |metrics: &Metrics| {
        let mut families: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for sample in &metrics.0 {
            if let Some(comm) = sample.labels.get("comm") {
                families.entry(sample.name.clone()).or_default().insert(comm.clone());
            }
        }
        families
    };
    let of = |family: &str| workloads(&agent.metrics()).remove(family).filter(|workloads| workloads.contains("~other"));
    for family in ["tlsclose_process_open_fds", "tlsclose_accept_queue_length", "tlsclose_lingering_sockets"] {
        wait_for(family, seconds(20), || of(family));
    }
    let metrics = agent.metrics();
    for (family, workloads) in workloads(&metrics) {
        assert!(workloads.len() <= 3, "{family}: {workloads:?}");
    }
    assert_eq!(metrics.sum("tlsclose_lingering_sockets", &[]).map(|all| all >= 5.0), Some(true));
}
