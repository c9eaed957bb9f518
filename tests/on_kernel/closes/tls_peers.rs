//! Real TLS programs, and how their connections end.

use std::path::PathBuf;

use tempfile::TempDir;
use tlsclose_tests::agent::{Agent, tlsclose_command};
use tlsclose_tests::child::{Child, copy_of, run};
use tlsclose_tests::host::{free_port, leaky_rust, needs, tool, unique_comm};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::line_in;
use tlsclose_tests::seconds;
use tlsclose_tests::tls::{
    Certificate, after_data, assert_outcomes, python, python_program, wait_for_tls_site, watching,
};

type Outcomes<'a> = &'a [(&'static str, u64)];

/// A program under a name of its own.
fn renamed(name: &str) -> (TempDir, PathBuf, String) {
    let comm = unique_comm();
    let (directory, program) = copy_of(&tool(name), &comm);
    (directory, program, comm)
}

/// Runs the Python peers; gives the names of the server and of the client.
fn python_peers(namespace: &Netns, certificate: &Certificate, arguments: &[&str], count: u64) -> [String; 2] {
    let names = [unique_comm(), unique_comm()];
    let mut command = namespace.command(python());
    command.arg("-B").arg(python_program("tls_peers.py")).args(["--server", &names[0], "--client", &names[1]]);
    command.arg("--certificate").arg(certificate.both()).args(["--count", &count.to_string()]).args(arguments);
    let output = run(&mut command, seconds(120));
    assert_eq!(output.stdout, "done\n", "{arguments:?}: {}", output.stderr);
    names
}

/// Every cipher family of TLS 1.2, and the other versions.
const VERSIONS: [&[&str]; 9] = [
    &["--version", "1.0", "--ciphers", "ECDHE-ECDSA-AES128-SHA@SECLEVEL=0"],
    &["--version", "1.1", "--ciphers", "ECDHE-ECDSA-AES128-SHA@SECLEVEL=0"],
    &["--version", "1.2", "--ciphers", "ECDHE-ECDSA-AES128-CCM8@SECLEVEL=0"],
    &["--version", "1.2", "--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"],
    &["--version", "1.2", "--ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384"],
    &["--version", "1.2", "--ciphers", "ECDHE-ECDSA-CHACHA20-POLY1305"],
    &["--version", "1.2", "--ciphers", "ECDHE-ECDSA-AES128-SHA"],
    &["--version", "1.2", "--ciphers", "ECDHE-ECDSA-AES256-SHA384"],
    &["--version", "1.3"],
];

#[test]
fn python_truncates_unless_it_unwraps() {
    needs(&["python3", "openssl"]);
    const COUNT: u64 = 30;
    let certificate = Certificate::new();
    let namespace = Netns::new();
    let agent = watching(&namespace);
    for version in VERSIONS {
        let cases: [(&[&str], _, _); 4] = [
            (&["--end", "close"], ["truncated", "unknown"], ["truncated", "truncated"]),
            // A fatal alert is as long as a goodbye.
            (&["--end", "close", "--alert"], ["truncated", "unknown"], ["unknown", "truncated"]),
            (&["--end", "with"], ["truncated", "unknown"], ["truncated", "truncated"]),
            (&["--end", "unwrap"], ["clean", "clean"], ["clean", "clean"]),
        ];
        for (end, client, server) in cases {
            let arguments = [version, end].concat();
            let names = python_peers(&namespace, &certificate, &arguments, COUNT);
            let what = format!("{version:?} {end:?}");
            assert_outcomes(&agent, &names[1], &[(client[0], COUNT)], &[(client[1], COUNT)], &what);
            assert_outcomes(&agent, &names[0], &[(server[0], COUNT)], &[(server[1], COUNT)], &what);
        }
    }
}

#[test]
fn who_only_shakes_hands_makes_nobody_hang_up_after_data() {
    needs(&["python3", "openssl"]);
    const COUNT: u64 = 10;
    let certificate = Certificate::new();
    let namespace = Netns::new();
    let agent = watching(&namespace);
    for version in ["1.2", "1.3"] {
        // The server sends tickets when the handshake is done, which nobody has asked for.
        for (end, remote, expected) in [("check", "truncated", 0), ("close", "unknown", COUNT)] {
            let names = python_peers(&namespace, &certificate, &["--version", version, "--end", end], COUNT);
            let what = format!("{version} {end}");
            assert_outcomes(&agent, &names[1], &[("truncated", COUNT)], &[(remote, COUNT)], &what);
            assert_outcomes(&agent, &names[0], &[("truncated", COUNT)], &[("truncated", COUNT)], &what);
            assert_eq!(names.each_ref().map(|comm| after_data(&agent, comm)), [expected, 0], "{what}");
            let peer_first = names.map(|comm| sum(&sites_of(&agent, &comm), "peer_first"));
            assert_eq!(peer_first, [COUNT, 0], "{what}");
        }
    }
}

#[test]
fn a_hello_that_was_asked_for_again_changes_nothing() {
    needs(&["python3", "openssl"]);
    const COUNT: u64 = 3;
    let certificate = Certificate::new();
    let namespace = Netns::new();
    let agent = watching(&namespace);
    let port = free_port();
    let (_server_directory, server, server_comm) = renamed("openssl");
    let mut command = namespace.command(&server);
    command.args(["s_server", "-www", "-accept", &port.to_string(), "-groups", "X25519"]);
    command.arg("-cert").arg(certificate.certificate()).arg("-key").arg(certificate.key());
    let _server = Child::spawn(&mut command);
    namespace.wait_for_listener(port);
    // It offers a key that the server does not take. Without compatibility mode the ServerHello that follows the
    // ChangeCipherSpec is as short as a Finished of TLS 1.2.
    let (_client_directory, client, client_comm) = renamed("openssl");
    for mode in ["-no_middlebox", ""] {
        for _ in 0..COUNT {
            let script = format!(
                "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | {} s_client -quiet -verify_quiet -tls1_3 {mode} \
                 -groups P-256:X25519 -connect 127.0.0.1:{port}",
                client.display()
            );
            let output = run(namespace.command("sh").args(["-c", &script]), seconds(20));
            assert!(output.stdout.starts_with("HTTP/1.0 200"), "{output:?}");
        }
    }
    let all: Outcomes<'_> = &[("clean", 2 * COUNT)];
    assert_outcomes(&agent, &client_comm, all, all, "client");
    assert_outcomes(&agent, &server_comm, all, all, "server");
}

#[test]
fn thousands_of_short_connections_are_counted_to_the_last() {
    needs(&["python3", "openssl"]);
    let certificate = Certificate::new();
    let namespace = Netns::new();
    let agent = watching(&namespace);
    let cases: [(&[&str], _, _, _); 5] = [
        (&["--end", "close"], 10_000, ["truncated", "unknown"], ["truncated", "truncated"]),
        (&["--end", "unwrap"], 10_000, ["clean", "clean"], ["clean", "clean"]),
        (&["--end", "reset"], 10_000, ["aborted", "unknown"], ["aborted", "aborted"]),
        // The client says goodbye and closes while data of the server is on its way: that is answered by a reset. What
        // the client had said is still there to be read.
        (&["--end", "one_shot"], 2000, ["clean", "unknown"], ["aborted", "clean"]),
        (&["--end", "one_shot", "--unread"], 2000, ["clean", "unknown"], ["aborted", "unknown"]),
    ];
    // The last one costs time, and is no other in TLS 1.2.
    for (version, most, cases) in [("1.3", 10_000, &cases[..]), ("1.2", 2000, &cases[..4])] {
        for &(end, count, client, server) in cases {
            let count = most.min(count);
            let arguments = [&["--version", version], end].concat();
            let names = python_peers(&namespace, &certificate, &arguments, count);
            let what = format!("{version} {end:?}");
            assert_outcomes(&agent, &names[1], &[(client[0], count)], &[(client[1], count)], &what);
            assert_outcomes(&agent, &names[0], &[(server[0], count)], &[(server[1], count)], &what);
        }
    }
}

#[test]
fn thousands_of_connections_of_a_killed_process_are_counted_once_each() {
    needs(&["python3", "openssl"]);
    const COUNT: u64 = 5000;
    let certificate = Certificate::new();
    let namespace = Netns::new();
    let agent = watching(&namespace);
    let names = python_peers(&namespace, &certificate, &["--end", "kill"], COUNT);
    assert_outcomes(&agent, &names[1], &[("truncated", COUNT)], &[("unknown", COUNT)], "killed");
    assert_outcomes(&agent, &names[0], &[("truncated", COUNT)], &[("truncated", COUNT)], "its server");
    let [server, client] = names.map(|comm| sites_of(&agent, &comm));
    let sums = |field| [&client, &server].map(|sites| sum(sites, field));
    assert_eq!(sums("closes"), [COUNT, COUNT], "{client:#?} {server:#?}");
    assert_eq!(sums("process_exit"), [COUNT, 0], "{client:#?} {server:#?}");
    // Nobody had hung up on the client, as it did on the server.
    assert_eq!(sums("peer_first"), [0, COUNT], "{client:#?} {server:#?}");
}

#[test]
fn a_killed_process_truncates_and_it_is_said_why() {
    needs(&["python3", "openssl"]);
    let certificate = Certificate::new();
    let namespace = Netns::new();
    let agent = watching(&namespace);
    let names = python_peers(&namespace, &certificate, &["--end", "kill"], 1);
    assert_outcomes(&agent, &names[1], &[("truncated", 1)], &[("unknown", 1)], "kill");
    assert_outcomes(&agent, &names[0], &[("truncated", 1)], &[("truncated", 1)], "kill");
    let report = agent.leaks();
    let site = report["tls_sites"].as_array().unwrap().iter().find(|site| site["comm"] == *names[1]).unwrap().clone();
    assert_eq!(site["process_exit"], 1, "{site:#}");
}

#[test]
fn rustls_says_goodbye_when_it_is_told_to() {
    needs(&["python3", "openssl"]);
    const COUNT: u64 = 1000;
    let certificate = Certificate::new();
    let namespace = Netns::new();
    let agent = watching(&namespace);
    // Client and server are one program.
    let both: Outcomes<'_> = &[("clean", 2 * COUNT)];
    for version in ["1.2", "1.3"] {
        let comm = unique_comm();
        let (_directory, program) = copy_of(&leaky_rust(), &comm);
        let mut command = namespace.command(&program);
        command.arg("tls").arg(certificate.both()).args([&*COUNT.to_string(), version, "goodbye"]);
        let output = run(&mut command, seconds(60));
        assert_eq!(output.stdout, "done\n", "{version}: {}", output.stderr);
        assert_outcomes(&agent, &comm, both, both, version);
    }
}

#[test]
fn the_code_path_that_hangs_up_is_named() {
    needs(&["python3", "openssl"]);
    let certificate = Certificate::new();
    let namespace = Netns::new();
    let agent = watching(&namespace);
    for version in ["1.2", "1.3"] {
        let comm = unique_comm();
        let (_directory, program) = copy_of(&leaky_rust(), &comm);
        let mut command = namespace.command(&program);
        command.arg("tls").arg(certificate.both()).args(["3000", version]);
        let mut rustls = Child::spawn(&mut command);
        let site = wait_for_tls_site(&agent, &comm);
        let frames = site["closed"]["stack"].as_array().expect("a stack").clone();
        let line = line_in("tests/leaky/rust/tls.rs", "tls hang_up");
        let hang_up =
            frames.iter().find(|frame| frame["function"].as_str().is_some_and(|name| name.contains("hang_up")));
        let hang_up = hang_up.unwrap_or_else(|| panic!("no hang_up: {site:#}"));
        assert_eq!(hang_up["line"], line, "{site:#}");
        assert_eq!(site["share"], 1.0, "{site:#}");
        let socket = agent.socket();
        let arguments = ["leaks", "--kind", "tls_truncated", "-c", &comm, "--socket", socket.to_str().unwrap()];
        let shown = run(&mut tlsclose_command(&arguments), seconds(20)).stdout;
        assert!(shown.starts_with("tls_truncated  ") && shown.contains("hang_up"), "{shown}");
        rustls.wait_for_line("done", seconds(60));
        // Client and server are one program here, and every one of their closes counts once.
        assert_outcomes(&agent, &comm, &[("truncated", 6000)], &[("truncated", 3000), ("unknown", 3000)], version);
        assert_eq!(sum(&sites_of(&agent, &comm), "closes"), 6000);
    }
}

fn sum(sites: &[serde_json::Value], field: &str) -> u64 {
    sites.iter().map(|site| site[field].as_u64().expect("a count")).sum()
}

fn sites_of(agent: &Agent, comm: &str) -> Vec<serde_json::Value> {
    let report = agent.leaks();
    let sites = report["tls_sites"].as_array().expect("sites");
    sites.iter().filter(|site| site["comm"] == comm).cloned().collect()
}
