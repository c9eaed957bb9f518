//! TLS libraries of other languages.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use tlsclose_tests::child::{Child, copy_of, run};
use tlsclose_tests::host::{beside_leaky_c, needs, root, tool, unique_comm};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::seconds;
use tlsclose_tests::tls::{Certificate, assert_outcomes, local_outcomes, watching};

const COUNT: u64 = 30;

/// A program under another name, where it must stay where it is: the link's is the process's.
fn linked(program: &str) -> (TempDir, PathBuf, String) {
    let comm = unique_comm();
    let directory = TempDir::new().expect("a directory");
    let link = directory.path().join(&comm);
    std::os::unix::fs::symlink(tool(program), &link).expect("a link");
    (directory, link, comm)
}

fn assert_done(command: &mut Command) {
    let output = run(command, seconds(120));
    assert!(output.stdout.ends_with("done\n"), "{command:?}: {} {}", output.stdout, output.stderr);
}

/// Client and server are one program.
#[test]
fn go_says_goodbye_unless_the_connection_below_is_closed() {
    needs(&["python3", "openssl", "go"]);
    let certificate = Certificate::new();
    let namespace = Netns::new();
    let agent = watching(&namespace);
    for (end, local, remote) in [
        ("close", [("clean", 2 * COUNT)].as_slice(), [("clean", COUNT), ("unknown", COUNT)].as_slice()),
        ("drop", &[("truncated", 2 * COUNT)], &[("truncated", COUNT), ("unknown", COUNT)]),
    ] {
        for version in ["1.2", "1.3"] {
            let comm = unique_comm();
            let (_directory, program) = copy_of(&beside_leaky_c("tls-peers-go"), &comm);
            assert_done(namespace.command(&program).arg(certificate.both()).args([&*COUNT.to_string(), end, version]));
            assert_outcomes(&agent, &comm, local, remote, &format!("{version} {end}"));
        }
    }
}

/// Client and server are one program.
#[test]
fn java_says_goodbye_unless_the_socket_below_is_closed() {
    needs(&["python3", "openssl", "java"]);
    let certificate = Certificate::new();
    let store = certificate.key_store();
    let namespace = Netns::new();
    let agent = watching(&namespace);
    let all: &[(&str, u64)] = &[("clean", 2 * COUNT)];
    // Its answer to a goodbye is one padded alert, which could be 18 bytes of data.
    let half: &[(&str, u64)] = &[("clean", COUNT), ("unknown", COUNT)];
    // The server answers a truncation with a fatal alert, which is as long as a goodbye.
    let answered: &[(&str, u64)] = &[("truncated", COUNT), ("unknown", COUNT)];
    let truncated: &[(&str, u64)] = &[("truncated", 2 * COUNT)];
    for (version, close, drop) in [("TLSv1.2", all, answered), ("TLSv1.3", half, truncated)] {
        for (end, expected) in [("close", close), ("drop", drop)] {
            let (_directory, java, comm) = linked("java");
            let mut command = namespace.command(&java);
            command.arg(root().join("tests/leaky/java/TlsPeers.java")).arg(&store);
            assert_done(command.args([&*COUNT.to_string(), end, version]));
            // It shuts down before it closes: whether the peer's alert comes in between is a race. Nobody reads that, and the
            // close resets a connection that had its end anyway. After a goodbye that is rare.
            let mut local = BTreeMap::new();
            for (outcome, count) in local_outcomes(&agent, &comm, 2 * COUNT) {
                let is_reset = outcome == "aborted" && (expected == answered || expected == half && count <= COUNT / 5);
                let without_alert = if expected == half { "clean" } else { "truncated" };
                *local.entry(if is_reset { without_alert.to_owned() } else { outcome }).or_default() += count;
            }
            let expected = expected.iter().map(|(outcome, count)| ((*outcome).to_owned(), *count)).collect();
            assert_eq!(local, expected, "{version} {end}");
        }
    }
}

#[test]
fn node_says_goodbye_unless_a_socket_is_destroyed() {
    needs(&["python3", "openssl", "node"]);
    let certificate = Certificate::new();
    let namespace = Netns::new();
    let agent = watching(&namespace);
    let script = root().join("tests/leaky/node/tls_peers.js");
    for (end, client, server) in [
        ("end", [("clean", COUNT), ("clean", COUNT)], [("clean", COUNT), ("clean", COUNT)]),
        ("destroy", [("truncated", COUNT), ("unknown", COUNT)], [("unknown", COUNT), ("truncated", COUNT)]),
    ] {
        for version in ["TLSv1.2", "TLSv1.3"] {
            let (_server_directory, server_node, server_comm) = linked("node");
            let count = COUNT.to_string();
            let mut command = namespace.command(&server_node);
            let mut serving = Child::spawn(command.arg(&script).arg("server").arg(certificate.both()).arg(&count));
            let port = serving.wait_for_line("port ", seconds(20));
            let (_client_directory, client_node, client_comm) = linked("node");
            assert_done(namespace.command(&client_node).arg(&script).args(["client", &port, &count, end, version]));
            serving.wait_for_line("done", seconds(20));
            assert_outcomes(&agent, &client_comm, &client[..1], &client[1..], &format!("client, {version} {end}"));
            assert_outcomes(&agent, &server_comm, &server[..1], &server[1..], &format!("server, {version} {end}"));
        }
    }
}
