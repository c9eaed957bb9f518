//! `--otlp.endpoint`: the same metrics for a collector of OpenTelemetry.

use std::process::Command;

use tempfile::TempDir;
use tlsclose_tests::agent::{Agent, tlsclose_command};
use tlsclose_tests::child::{Child, run};
use tlsclose_tests::collector::{Collector, number, strings};
use tlsclose_tests::expect::wait_for_site;
use tlsclose_tests::host::{free_port, root};
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::{seconds, wait_for};

#[test]
fn a_collector_gets_what_prometheus_would_get() {
    let namespace = Netns::new();
    let port = free_port();
    let collector = Collector::start(port);
    let endpoint = format!("--otlp.endpoint=http://127.0.0.1:{port}");
    let agent = Agent::start_with(&[&endpoint, "--otlp.interval=500ms"]);
    let way = way_named("eof_forget");
    let mut leaky = Leaky::start(&namespace, Language::C, way, &["--count", "4", "--for", "60"]);
    leaky.ready();
    let site = wait_for_site(&agent, &leaky, 4);
    let comm = ("process.executable.name", &*leaky.comm);
    let point = wait_for("the leak at the collector", seconds(15), || {
        let points = collector.points("tlsclose.lingering_sockets", comm);
        points.into_iter().find(|point| number(point) == 4.0)
    });
    let attributes = strings(&point.attributes);
    for (name, value) in [("kind", way.kind), ("site", site["site"].as_str().expect("a site"))] {
        assert!(attributes.contains(&(name.to_owned(), value.to_owned())), "{name}: {attributes:?}");
    }
    let began = collector.points("tlsclose.lingered_sockets", comm);
    assert_eq!(began.iter().map(number).sum::<f64>(), 4.0);
    assert!(began[0].start_time_unix_nano > 0 && began[0].start_time_unix_nano < began[0].time_unix_nano);
    let resource = collector.resource().expect("a resource");
    let of = |name: &str| resource.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    assert_eq!(of("service.name").as_deref(), Some("tlsclose"));
    assert_eq!(of("host.name").as_deref(), agent.leaks()["host"].as_str());
    // The agent's own, under the names that OpenTelemetry has for it.
    for name in ["process.cpu.time", "process.memory.usage", "tlsclose.census_duration"] {
        assert!(collector.metric(name).is_some(), "no {name}");
    }
}

/// A program that is not ours and not of this workspace: it must understand what is pushed.
#[test]
fn a_real_collector_understands_what_is_pushed() {
    const ROTEL: &str = "target/tools/rotel-0.0.1a15/rotel/rotel-agent";
    let rotel = root().join(ROTEL);
    assert!(rotel.is_file(), "no {ROTEL}: `cargo xtask setup --tests` installs it");
    let (namespace, directory) = (Netns::new(), TempDir::new().expect("a directory"));
    let (port, http) = (free_port(), free_port());
    let mut collector = Command::new(rotel);
    collector.args(["start", "--exporter=blackhole", "--debug-log=metrics", "--debug-log-verbosity=detailed"]);
    collector.arg(format!("--otlp-grpc-endpoint=127.0.0.1:{port}"));
    collector.arg(format!("--otlp-http-endpoint=127.0.0.1:{http}"));
    collector.arg("--pid-file").arg(directory.path().join("pid")).env_clear();
    let collector = Child::spawn(&mut collector);
    let agent = Agent::start_with(&[&format!("--otlp.endpoint=http://127.0.0.1:{port}"), "--otlp.interval=500ms"]);
    let way = way_named("eof_forget");
    let mut leaky = Leaky::start(&namespace, Language::C, way, &["--count", "4", "--for", "60"]);
    leaky.ready();
    let site = wait_for_site(&agent, &leaky, 4);
    let attributes = [("process.executable.name", &*leaky.comm), ("kind", way.kind)];
    let attributes = attributes.into_iter().chain([("site", site["site"].as_str().expect("a site"))]);
    let attributes: Vec<String> = attributes.map(|(name, value)| format!("-> {name}: Str({value})\n")).collect();
    for (name, kind) in [("lingering_sockets", "Gauge"), ("lingered_sockets", "Sum"), ("census_duration", "Histogram")]
    {
        let descriptor = format!("-> Name: tlsclose.{name}\n");
        let is_shown = |metric: &&str| metric.contains(&descriptor) && metric.contains(&format!("DataType: {kind}\n"));
        let is_its = |point: &&str| attributes.iter().all(|attribute| point.contains(attribute));
        wait_for(name, seconds(20), || {
            let stdout = collector.stdout();
            let mut metrics = stdout.split("\nMetric #").filter(is_shown);
            match kind {
                "Histogram" => metrics.next().map(|_| ()),
                _ => {
                    let mut points = metrics.flat_map(|metric| metric.split("\nNumberDataPoints #")).filter(is_its);
                    points.any(|point| point.contains("\nValue: 4")).then_some(())
                }
            }
        });
    }
    assert!(collector.stdout().contains("-> service.name: Str(tlsclose)\n"), "{}", collector.stdout());
}

#[test]
fn a_collector_that_is_away_does_no_harm_and_is_found_again() {
    let port = free_port();
    let endpoint = format!("--otlp.endpoint=http://127.0.0.1:{port}");
    let agent = Agent::start_with(&[&endpoint, "--otlp.interval=200ms"]);
    let complaints = || agent.stderr().matches("cannot push metrics").count();
    wait_for("a word about it", seconds(15), || (complaints() > 0).then_some(()));
    agent.wait_for_censuses(4);
    assert_eq!(complaints(), 1, "once: {}", agent.stderr());
    let collector = Collector::start(port);
    wait_for("a push", seconds(20), || (collector.pushes() > 0).then_some(()));
    wait_for("a word about it", seconds(5), || agent.stderr().contains("pushed to").then_some(()));
    drop(collector);
    wait_for("another word", seconds(15), || (complaints() == 2).then_some(()));
    assert!(agent.stop().success());
}

#[test]
fn an_endpoint_that_cannot_be_is_wrong_usage() {
    for wrong in ["https://collector:4317", "collector", "http://collector"] {
        let output = run(&mut tlsclose_command(&["agent", "--otlp.endpoint", wrong]), seconds(10));
        assert_eq!((output.code, output.stderr.lines().count()), (Some(2), 1), "{output:?}");
        assert!(output.stderr.contains("http://collector:4317"), "{output:?}");
    }
}
