//! TLS programs that people run, and every way in which their peers can end.

use std::fs;
use std::io::{self, PipeWriter, Write};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;
use tlsclose_tests::child::{Child, copy_of, run};
use tlsclose_tests::host::{free_port, needs, tool, unique_comm};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::seconds;
use tlsclose_tests::tls::{Certificate, assert_outcomes, local_outcomes, python, python_program, watching};

struct Server {
    comm: String,
    port: u16,
    ask: &'static str,
    _program: Child,
    _directories: [TempDir; 2],
}

const HTTP: &str = r"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const LINE: &str = r"hello\n";

fn start(namespace: &Netns, certificate: &Certificate, name: &str) -> Server {
    let port = free_port();
    let comm = unique_comm();
    let (copy, program) = copy_of(&tool(name), &comm);
    let directory = TempDir::new().expect("a directory");
    let mut command = namespace.command(&program);
    command.current_dir(directory.path());
    let ask = match name {
        "nginx" => {
            fs::write(directory.path().join("nginx.conf"), nginx(port, certificate)).expect("a configuration");
            command.arg("-p").arg(directory.path()).args(["-c", "nginx.conf", "-e", "error.log"]);
            HTTP
        }
        "haproxy" => {
            fs::write(directory.path().join("haproxy.cfg"), haproxy(port, &certificate.both()))
                .expect("a configuration");
            command.args(["-db", "-f", "haproxy.cfg"]);
            HTTP
        }
        "openssl" => {
            command.args(["s_server", "-quiet", "-rev", "-accept", &port.to_string()]);
            command.arg("-cert").arg(certificate.certificate()).arg("-key").arg(certificate.key());
            LINE
        }
        _ => {
            command.args(["--echo", "--quiet", "--noticket", "-p", &port.to_string()]);
            command.arg("--x509certfile").arg(certificate.certificate()).arg("--x509keyfile").arg(certificate.key());
            LINE
        }
    };
    let program = Child::spawn(&mut command);
    namespace.wait_for_listener(port);
    Server { comm, port, ask, _program: program, _directories: [copy, directory] }
}

fn nginx(port: u16, certificate: &Certificate) -> String {
    format!(
        "daemon off; master_process off; pid nginx.pid; error_log error.log; events {{}}\n\
         http {{ access_log off; client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d;\n\
         scgi_temp_path e; server {{ listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.2 TLSv1.3;\n\
         ssl_certificate {}; ssl_certificate_key {}; location / {{ return 200 'hello'; }} }} }}\n",
        certificate.certificate().display(),
        certificate.key().display()
    )
}

fn haproxy(port: u16, certificate: &Path) -> String {
    format!(
        "global\n  maxconn 64\n\
         defaults\n  mode http\n  timeout client 60s\n  timeout connect 5s\n  timeout server 60s\n\
         frontend in\n  bind 127.0.0.1:{port} ssl crt {}\n\
         \x20 http-request return status 200 content-type text/plain string hello\n",
        certificate.display()
    )
}

/// AEAD with an explicit nonce and without, CBC, and 1.3: lengths of a goodbye differ.
const VERSIONS: [&[&str]; 4] = [
    &["--version", "1.2", "--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"],
    &["--version", "1.2", "--ciphers", "ECDHE-ECDSA-CHACHA20-POLY1305"],
    &["--version", "1.2", "--ciphers", "ECDHE-ECDSA-AES128-SHA"],
    &["--version", "1.3"],
];

/// The other side, which ends each connection in the same way.
fn python_side(namespace: &Netns, role: &str, end: &str, count: u64, version: &[&str]) -> Command {
    let mut command = namespace.command(python());
    command.arg(python_program("tls_ends.py")).args([role, "--end", end, "--count", &count.to_string()]).args(version);
    command
}

/// A client that knows the certificate.
fn trust(client: &mut Command, certificate: &Certificate) {
    client.env("SSL_CERT_FILE", certificate.certificate()).env("CURL_CA_BUNDLE", certificate.certificate());
}

#[test]
fn servers_that_people_run_under_every_end_of_a_client() {
    const COUNT: u64 = 25;
    needs(&["python3", "openssl", "nginx", "haproxy", "gnutls-serv"]);
    let certificate = Certificate::new();
    let namespace = Netns::new();
    let agent = watching(&namespace);
    // What the server does with the client's end: its own direction, and the client's.
    let answers = [
        ("unwrap", ("clean", "clean")),
        ("one_shot", ("clean", "clean")),
        // After an end without a goodbye they send an alert, which may be a fatal one.
        ("close", ("unknown", "truncated")),
        ("kill", ("unknown", "truncated")),
        ("reset", ("aborted", "aborted")),
    ];
    // nginx does not answer a goodbye, which is allowed (ngx_ssl_handle_recv), nor says any where the client does not.
    let is_silent = [
        ("unwrap", ("unanswered", "clean")),
        ("one_shot", ("unanswered", "clean")),
        ("close", ("truncated", "truncated")),
        ("kill", ("truncated", "truncated")),
        ("reset", ("aborted", "aborted")),
    ];
    for (name, ends) in [("nginx", is_silent), ("haproxy", answers), ("openssl", answers), ("gnutls-serv", answers)] {
        for (end, (local, remote)) in ends {
            let server = start(&namespace, &certificate, name);
            for version in VERSIONS {
                let mut client = python_side(&namespace, "client", end, COUNT, version);
                client.args(["--port", &server.port.to_string(), "--say", server.ask]);
                let output = run(client.arg("--certificate").arg(certificate.certificate()), seconds(20));
                assert_eq!(output.stdout, "done\n", "{name} {version:?} {end}: {}", output.stderr);
            }
            let all = COUNT * VERSIONS.len() as u64;
            assert_outcomes(&agent, &server.comm, &[(local, all)], &[(remote, all)], &format!("{name}, {end}"));
        }
    }
}

#[test]
fn clients_that_people_run_say_goodbye_when_they_end_first() {
    needs(&["python3", "openssl", "curl", "nginx", "gnutls-cli", "gnutls-serv"]);
    // In two versions.
    const COUNT: u64 = 10;
    const CLEAN: &[(&str, u64)] = &[("clean", 2 * COUNT)];
    let certificate = Certificate::new();
    let namespace = Netns::new();
    let agent = watching(&namespace);
    let nginx = start(&namespace, &certificate, "nginx");
    let gnutls = start(&namespace, &certificate, "gnutls-serv");
    let curl = ("curl", &nginx, "\"$0\" -s --tlsv$2 --tls-max $2 https://localhost:$1/");
    let s_client =
        "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | \"$0\" s_client -quiet -tls${2%.*}_${2#*.} -connect localhost:$1";
    let gnutls_cli =
        "(echo hello; sleep 0.3) | \"$0\" --insecure --priority=NORMAL:-VERS-ALL:+VERS-TLS$2 -p $1 localhost";
    for (name, server, script) in [curl, ("openssl", &nginx, s_client), ("gnutls-cli", &gnutls, gnutls_cli)] {
        let comm = unique_comm();
        let (_copy, program) = copy_of(&tool(name), &comm);
        for version in ["1.2", "1.3"].repeat(COUNT as usize) {
            let mut client = namespace.command("sh");
            client.args(["-c", script]).arg(&program).args([&server.port.to_string(), version]);
            trust(&mut client, &certificate);
            let output = run(&mut client, seconds(20));
            assert!(output.stdout.contains("hello"), "{script}: {output:?}");
        }
        if name == "curl" {
            // It does not wait for an answer, and nginx gives none.
            assert_eq!(local_outcomes(&agent, &comm, 2 * COUNT), [("clean".to_owned(), 2 * COUNT)], "{name}");
            assert_outcomes(&agent, &nginx.comm, &[("unanswered", 2 * COUNT)], CLEAN, "nginx");
        } else {
            assert_outcomes(&agent, &comm, CLEAN, CLEAN, name);
        }
    }
    assert_outcomes(&agent, &gnutls.comm, CLEAN, CLEAN, "gnutls-serv");
}

/// Without a length: it ends with the connection.
const ANSWER: &str = r"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello\n";

#[test]
fn clients_that_people_run_under_every_end_of_a_server_and_killed() {
    const COUNT: u64 = 5;
    needs(&["python3", "openssl", "curl", "gnutls-cli"]);
    let certificate = Certificate::new();
    let namespace = Netns::new();
    let agent = watching(&namespace);
    // As above: an alert after an end without a goodbye may be a fatal one.
    let answers = [
        ("unwrap", ("clean", "clean")),
        ("close", ("unknown", "truncated")),
        ("reset", ("aborted", "aborted")),
        (KILLED, ("truncated", "unknown")),
    ];
    let is_silent = [
        ("unwrap", ("unanswered", "clean")),
        ("close", ("truncated", "truncated")),
        ("reset", ("aborted", "aborted")),
        (KILLED, ("truncated", "unknown")),
    ];
    for (name, ends) in [("curl", answers), ("openssl", answers), ("gnutls-cli", is_silent)] {
        for (end, (local, remote)) in ends {
            let comm = unique_comm();
            let (_copy, program) = copy_of(&tool(name), &comm);
            for version in VERSIONS {
                let mut server = python_side(&namespace, "server", end, COUNT, version);
                server.args(["--say", ANSWER, "--certificate"]).arg(certificate.both());
                let mut server = Child::spawn(&mut server);
                let port = server.wait_for_line("port ", seconds(20));
                for _ in 0..COUNT {
                    hear_out(&mut asking(&namespace, name, &program, &port, &certificate), end);
                }
                server.wait_for_line("done", seconds(20));
            }
            let all = COUNT * VERSIONS.len() as u64;
            assert_outcomes(&agent, &comm, &[(local, all)], &[(remote, all)], &format!("{name}, {end}"));
        }
    }
}

/// What the server waits for, instead of ending the connection itself.
const KILLED: &str = "wait";

fn asking(namespace: &Netns, name: &str, program: &Path, port: &str, certificate: &Certificate) -> (Child, PipeWriter) {
    let mut client = namespace.command(program);
    match name {
        "curl" => client.args(["-sN", &format!("https://localhost:{port}/")]),
        "openssl" => client.args(["s_client", "-quiet", "-connect", &format!("localhost:{port}")]),
        _ => client.args(["--insecure", "-p", port, "localhost"]),
    };
    trust(&mut client, certificate);
    let (input, mut question) = io::pipe().expect("a pipe");
    question.write_all(b"hello\n").expect("a question");
    (Child::spawn_reading(&mut client, input), question)
}

/// The client's input stays open: it does not hang up first.
fn hear_out((client, _question): &mut (Child, PipeWriter), end: &str) {
    if end == KILLED {
        client.wait_for_line("hello", seconds(20));
        client.signal(Signal::KILL);
    }
    client.wait(seconds(20)).expect("an end");
}
