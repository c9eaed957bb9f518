//! `--web.config.file`, with a real Prometheus as the client.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use tlsclose_tests::agent::{Agent, tlsclose_command};
use tlsclose_tests::child::run;
use tlsclose_tests::expect::wait_for_site;
use tlsclose_tests::host::{needs, tool};
use tlsclose_tests::http::HASH;
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::prometheus::Prometheus;
use tlsclose_tests::{seconds, wait_for};

/// `prometheus:secret`.
const BASIC: &str = "Basic cHJvbWV0aGV1czpzZWNyZXQ=";

fn openssl(directory: &Path, arguments: &str) {
    let mut openssl = Command::new(tool("openssl"));
    openssl.current_dir(directory).args(arguments.split(' '));
    let output = run(&mut openssl, seconds(30));
    assert_eq!(output.code, Some(0), "openssl {arguments}: {}", output.stderr);
}

/// An authority, and certificates by it for 127.0.0.1 and for a client.
fn certificates(directory: &Path) {
    let new = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -x509 -days 2";
    openssl(directory, &format!("{new} -keyout ca.key -out ca.pem -subj /CN=test-authority"));
    for (name, extension) in [("server", "subjectAltName=IP:127.0.0.1"), ("client", "extendedKeyUsage=clientAuth")] {
        let by = "-CA ca.pem -CAkey ca.key -addext basicConstraints=critical,CA:FALSE";
        openssl(
            directory,
            &format!("{new} {by} -keyout {name}.key -out {name}.pem -subj /CN={name} -addext {extension}"),
        );
    }
}

#[test]
fn only_a_client_with_certificate_and_password_may_scrape() {
    needs(&["openssl", "prometheus"]);
    let directory = TempDir::new().expect("a directory");
    let place = directory.path();
    certificates(place);
    let configuration = format!(
        "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  client_ca_file: ca.pem\n  \
         client_auth_type: RequireAndVerifyClientCert\n  min_version: TLS13\n\
         basic_auth_users:\n  prometheus: {HASH}\n"
    );
    fs::write(place.join("web.yml"), configuration).expect("a configuration");
    let agent = Agent::start_with(&[&format!("--web.config.file={}", place.join("web.yml").display())]);

    let at = |file: &str| place.join(file).display().to_string();
    let job = |name: &str, rest: &str| {
        format!("    - {{job_name: {name}, static_configs: [{{targets: ['127.0.0.1:{}']}}], {rest}}}\n", agent.port())
    };
    let certificate =
        format!("ca_file: '{}', cert_file: '{}', key_file: '{}'", at("ca.pem"), at("client.pem"), at("client.key"));
    let user = |password: &str| format!("basic_auth: {{username: prometheus, password: {password}}}");
    let jobs = [
        job("right", &format!("scheme: https, tls_config: {{{certificate}}}, {}", user("secret"))),
        job("wrong_password", &format!("scheme: https, tls_config: {{{certificate}}}, {}", user("guess"))),
        job("no_password", &format!("scheme: https, tls_config: {{{certificate}}}")),
        job(
            "no_certificate",
            &format!("scheme: https, tls_config: {{ca_file: '{}'}}, {}", at("ca.pem"), user("secret")),
        ),
        job("no_tls", &user("secret")),
    ];
    let prometheus = Prometheus::start_with(&jobs.concat());
    let up = |job: &str| Some(prometheus.query(&format!("up{{job=\"{job}\"}}"))?.first()?["value"][1].clone());
    wait_for("the scrape that is allowed", seconds(30), || up("right").filter(|up| up == "1"));
    for job in ["wrong_password", "no_password", "no_certificate", "no_tls"] {
        assert_eq!(wait_for(job, seconds(20), || up(job)), "0", "{job} gets in");
    }
    let scraped = prometheus.query("tlsclose_build_info{job=\"right\"}").expect("an answer");
    assert_eq!(scraped.len(), 1);
    assert!(agent.stderr().contains("metrics on https://127.0.0.1:"), "{}", agent.stderr());
}

#[test]
fn details_are_not_for_strangers() {
    needs(&["openssl"]);
    let directory = TempDir::new().expect("a directory");
    let place = directory.path();
    certificates(place);
    // TLS alone tells nobody from another.
    let encrypted = place.join("tls.yml");
    fs::write(&encrypted, "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n").expect("a file");
    let encrypted = format!("--web.config.file={}", encrypted.display());
    for flags in [&["--web.listen-address=0.0.0.0:0"][..], &["--web.listen-address=127.0.0.1:0"], &[&encrypted]] {
        let asked = [&["agent", "--web.details=on"], flags].concat();
        let output = run(&mut tlsclose_command(&asked), seconds(10));
        assert_eq!((output.code, output.stderr.lines().count()), (Some(2), 1), "{flags:?}: {}", output.stderr);
        assert!(output.stderr.contains("--web.config.file"), "{flags:?}: {}", output.stderr);
    }
}

#[test]
fn details_are_for_those_who_ask_with_a_password() {
    let directory = TempDir::new().expect("a directory");
    let configuration = directory.path().join("web.yml");
    fs::write(&configuration, format!("basic_auth_users:\n  prometheus: {HASH}\n")).expect("a configuration");
    let configuration = format!("--web.config.file={}", configuration.display());
    let (namespace, agent) = (Netns::new(), Agent::start_with(&[&configuration, "--web.details=on"]));
    let arguments = ["--count", "4", "--for", "60"];
    let mut leaky = Leaky::start(&namespace, Language::C, way_named("eof_forget"), &arguments);
    wait_for_site(&agent, &leaky, 4);
    let ask = |headers: &[(&str, &str)]| agent.tcp().request("GET", "/api/v1/leaks", headers).expect("an answer");
    let known = ask(&[("Authorization", BASIC)]);
    assert_eq!(known.status, 200, "{}", known.body);
    assert!(known.body.contains(&format!("127.0.0.1:{}", leaky.port())), "{}", known.body);
    assert!(known.body.contains("ways.c") && !known.body.contains("--count"), "not asked for: {}", known.body);
    let stranger = ask(&[]);
    assert_eq!((stranger.status, stranger.body.contains("127.0.0.1")), (401, false), "{}", stranger.body);
}
