//! Pods of a real containerd: who leaks is named as Kubernetes names it.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::containerd::Containerd;
use tlsclose_tests::host::needs;
use tlsclose_tests::leaky::{Language, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{frames_in, function, list};
use tlsclose_tests::{seconds, wait_for};

const TOOLS: [&str; 4] = ["containerd", "ctr", "runc", "busybox"];

/// The site and the process of a container.
fn of_container<'a>(report: &'a Value, id: &str) -> Option<(&'a Value, &'a Value)> {
    list(&report["sites"]).find_map(|site| {
        let process = list(&site["processes"]).find(|process| process["container"]["id"] == id)?;
        Some((site, process))
    })
}

#[test]
fn a_leak_in_a_pod_is_named_by_namespace_pod_container_and_line() {
    needs(&TOOLS);
    let namespace = Netns::new();
    let mut containerd = Containerd::start(&namespace);
    let rules = TempDir::new().expect("a directory");
    let file = rules.path().join("rules.toml");
    fs::write(&file, "[[rule]]\nnamespace = \"quiet-*\"\nignore = true\n").expect("rules");
    let socket = format!("--cri-socket={}", containerd.socket().display());
    let agent = Agent::start_with(&[&socket, &format!("--config={}", file.display())]);
    let leak = ["eof_forget", "--count", "4", "--for", "60"];
    let leaking = containerd.run("shop", "payments-6d8", &leak);
    let healthy = containerd.run("shop", "carts-1", &["eof_forget", "--count", "4", "--for", "60", "--healthy"]);
    let ignored = containerd.run("quiet-zone", "legacy-0", &leak);
    for pod in ["payments-6d8", "carts-1", "legacy-0"] {
        wait_for(pod, seconds(20), || containerd.log(pod).contains("ready 4").then_some(()));
    }

    let held = |report: &Value| of_container(report, &leaking).is_some_and(|(_, process)| process["sockets"] == 4);
    agent.wait_for("the leak in the pod", seconds(20), held);
    agent.wait_for_censuses(2);
    let report = agent.leaks();
    let (site, process) = of_container(&report, &leaking).expect("the leak");
    let container = &process["container"];
    let named = ["runtime", "name", "pod", "namespace", "image"].map(|field| container[field].as_str());
    let expected = ["containerd", "app", "payments-6d8", "shop", "localhost/tlsclose-test:1"];
    assert_eq!(named, expected.map(Some), "{container:#}");
    assert_eq!(process["exe"], containerd.program());
    assert_eq!(process["ns_pid"], 1);
    assert!(of_container(&report, &healthy).is_none(), "a healthy pod is accused");
    assert!(of_container(&report, &ignored).is_none(), "a namespace that is to be ignored is shown");

    // The program is only in the container's own root.
    let way = way_named("eof_forget");
    for what in ["opened", "touched"] {
        let stack = &site[what]["stack"];
        let frames = frames_in(stack, "tests/leaky/c/ways.c");
        let frame = frames.first().unwrap_or_else(|| panic!("{what}: {stack:#}"));
        assert_eq!(frame["line"], way.line(Language::C, what), "{stack:#}");
        assert_eq!(frame["module"], containerd.program());
    }
    assert_eq!(function(frames_in(&site["opened"]["stack"], "ways.c")[0]), way.opened_function());

    let labels = [("namespace", "shop"), ("pod", "payments-6d8"), ("container", "app")];
    let metrics = agent.metrics();
    for name in ["tlsclose_lingering_sockets", "tlsclose_lingered_sockets_total"] {
        assert_eq!(metrics.sum(name, &labels), Some(4.0), "{name}");
    }
    assert!(metrics.sum("tlsclose_process_open_fds", &labels) >= Some(4.0));
    // No series of the same program began before its names were known.
    let comm = process["comm"].as_str().expect("a comm");
    let nameless = metrics.select("tlsclose_lingered_sockets_total", &[("comm", comm), ("pod", "")]);
    assert!(nameless.is_empty(), "{nameless:?}");
    let table = agent.get("/api/v1/leaks?namespace=shop").json();
    assert_eq!(list(&table["sites"]).count(), 1, "{table:#}");
}

#[test]
fn a_runtime_that_hangs_costs_only_the_names() {
    needs(&TOOLS);
    let namespace = Netns::new();
    let mut containerd = Containerd::start(&namespace);
    let id = containerd.run("shop", "hung-1", &["eof_forget", "--count", "3", "--for", "60"]);
    wait_for("the pod", seconds(20), || containerd.log("hung-1").contains("ready 3").then_some(()));
    containerd.hang();
    let agent = Agent::start_with(&[&format!("--cri-socket={}", containerd.socket().display())]);
    let held = |report: &Value| of_container(report, &id).is_some_and(|(_, process)| process["sockets"] == 3);
    let report = agent.wait_for("the leak", seconds(10), held);
    let (_, process) = of_container(&report, &id).expect("the leak");
    let container = &process["container"];
    assert_eq!((&container["pod"], &container["name"]), (&Value::from(""), &Value::from("")), "{container:#}");
    let slowest = agent.metrics().sum("tlsclose_census_duration_seconds_bucket", &[("le", "1.0")]);
    assert_eq!(slowest, agent.metrics().sum("tlsclose_census_duration_seconds_count", &[]));
    let short: String = id.chars().take(12).collect();
    let labels = [("namespace", ""), ("pod", ""), ("container", &*short)];
    assert!(agent.metrics().sum("tlsclose_adopted_sockets_total", &labels) >= Some(3.0));
    containerd.go_on();
}
