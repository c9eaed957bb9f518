//! From a leak to a page: the agent, Prometheus with the rules that operators load, Alertmanager, a receiver.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;
use tempfile::TempDir;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::child::Child;
use tlsclose_tests::host::{free_port, needs, root, tool};
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::prometheus::Prometheus;
use tlsclose_tests::report::list;
use tlsclose_tests::seconds;

/// Takes what Alertmanager posts.
fn receiver() -> (u16, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let mut reader = BufReader::new(connection);
            let mut length = 0;
            for line in reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
                if let Some((name, value)) = line.split_once(':')
                    && name.eq_ignore_ascii_case("content-length")
                {
                    length = value.trim().parse().expect("a length");
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            reader.into_inner().write_all(answer).expect("an answer");
            if sender.send(serde_json::from_slice(&body).expect("JSON")).is_err() {
                return;
            }
        }
    });
    (port, receiver)
}

fn alertmanager(directory: &Path, port: u16, webhook: u16) -> Child {
    let file = directory.join("alertmanager.yml");
    let configuration = format!(
        "route: {{receiver: test, group_by: [alertname, comm, site], group_wait: 0s, group_interval: 1s}}\n\
         receivers: [{{name: test, webhook_configs: [{{url: 'http://127.0.0.1:{webhook}/'}}]}}]\n"
    );
    fs::write(&file, configuration).expect("a configuration");
    let mut command = Command::new(tool("prometheus-alertmanager"));
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--storage.path={}", directory.join("alertmanager").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}")).arg("--cluster.listen-address=");
    Child::spawn(&mut command)
}

fn prometheus(agent: u16, alertmanager: u16) -> Prometheus {
    let rules = root().join("deploy/prometheus");
    let more = format!(
        "rule_files: ['{rules}/rules.yaml', '{rules}/alerts.yaml']\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{alertmanager}']}}]}}]}}\n",
        rules = rules.display()
    );
    Prometheus::start(agent, &more)
}

#[test]
fn a_leak_pages_with_the_function_that_leaks() {
    needs(&["prometheus", "prometheus-alertmanager"]);
    let namespace = Netns::new();
    let agent = Agent::start();
    let (webhook, pages) = receiver();
    let directory = TempDir::new().expect("a directory");
    let port = free_port();
    let _alertmanager = alertmanager(directory.path(), port, webhook);
    let _prometheus = prometheus(agent.port(), port);
    let way = way_named("eof_forget");
    let leak = ["--count", "600", "--rate", "10", "--for", "60"];
    let leaky = Leaky::start(&namespace, Language::C, way, &leak);

    let is_ours = |alert: &Value| alert["labels"]["comm"] == *leaky.comm;
    let alert = loop {
        let page = pages.recv_timeout(seconds(60)).expect("a page");
        if let Some(alert) = list(&page["alerts"]).find(|alert| is_ours(alert)) {
            break alert.clone();
        }
    };
    let labels = &alert["labels"];
    assert_eq!((&alert["status"], &labels["alertname"]), (&"firing".into(), &"TLSCloseSocketLeak".into()), "{alert:#}");
    assert_eq!((&labels["kind"], &labels["severity"]), (&way.kind.into(), &"warning".into()), "{alert:#}");
    let said = |annotation: &str| alert["annotations"][annotation].as_str().unwrap_or_default().to_owned();
    assert!(said("summary").starts_with(&format!("{} leaks sockets on 127.0.0.1:", leaky.comm)), "{alert:#}");
    for (function, what) in [(way.opened_function(), "opened"), (way.touched_function(), "touched")] {
        let line = way.line(Language::C, what);
        let place = format!("{function} (");
        let description = said("description");
        let at = description.find(&place).unwrap_or_else(|| panic!("no {place} in {description}"));
        let named = &description[at..description[at..].find(')').expect("a place") + at];
        assert!(named.ends_with(&format!("ways.c:{line}")), "{description}");
    }
    assert!(said("runbook_url").ends_with("docs/runbooks/TLSCloseSocketLeak.md"));
}
