//! Servers as Debian ships them, optimised, without frame pointers, stripped: function where the
//! file exports one, else module, offset and build id, from the call to the start of the program.
//!
//! They are stopped while they hold a connection, so that they cannot close it.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::child::{Child, run};
use tlsclose_tests::host::{needs, tool};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{list, sites_of};
use tlsclose_tests::seconds;

/// The opening of a connection that a server on this port holds when it is stopped.
fn opened_by(namespace: &Netns, agent: &Agent, server: &Child, port: u16) -> Value {
    namespace.wait_for_listener(port);
    // The first copies tell how to unwind; then one connection that stays.
    let script =
        format!("for i in 1 2 3; do exec 3<>/dev/tcp/127.0.0.1/{port}; sleep 0.5; done; echo connected now; sleep 1");
    let mut client = Child::spawn(namespace.command("bash").args(["-c", &script]));
    client.wait_for_line("connected ", seconds(20));
    server.signal(rustix::process::Signal::STOP);
    client.wait(seconds(5)).expect("its end");
    let report = agent.wait_for("its connection", seconds(20), |report| !sites_of(report, server.pid()).is_empty());
    let opened = sites_of(&report, server.pid())[0]["opened"].clone();
    assert_eq!(opened["whole"], true, "{opened:#}");
    let is_placed = |frame: &Value| frame["build_id"].is_string() && frame["offset"].is_string();
    assert!(list(&opened["stack"]).all(is_placed), "{opened:#}");
    opened
}

/// The frames of a module, by its base name: their functions.
fn functions_of<'a>(opened: &'a Value, module: &str) -> Vec<Option<&'a str>> {
    let is_in = |frame: &&Value| frame["module"].as_str().is_some_and(|path| path.ends_with(&format!("/{module}")));
    list(&opened["stack"]).filter(is_in).map(|frame| frame["function"].as_str()).collect()
}

#[test]
fn nginx_is_named_by_what_it_exports() {
    needs(&["nginx", "bash"]);
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let directory = TempDir::new().expect("a directory");
    let root = directory.path().display();
    let configuration = format!(
        "user root; master_process off; daemon off; pid {root}/pid; error_log stderr;
         events {{ worker_connections 64; }}
         http {{ access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
           fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
           server {{ listen 127.0.0.1:8083; root {root}; }} }}"
    );
    let file = directory.path().join("nginx.conf");
    fs::write(&file, configuration).expect("a configuration");
    let nginx = Child::spawn(namespace.command(tool("nginx")).args(["-e", "stderr", "-c"]).arg(&file));
    let opened = opened_by(&namespace, &agent, &nginx, 8083);
    let functions = functions_of(&opened, "nginx");
    for function in ["ngx_event_accept", "main"] {
        assert!(functions.contains(&Some(function)), "{opened:#}");
    }
}

#[test]
fn haproxy_is_named_by_what_it_exports() {
    needs(&["haproxy", "bash"]);
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let directory = TempDir::new().expect("a directory");
    let configuration = "global\n  maxconn 64\n  nbthread 2\n\
         defaults\n  mode http\n  timeout client 60s\n  timeout connect 5s\n  timeout server 60s\n\
         frontend in\n  bind 127.0.0.1:8085\n  default_backend out\n\
         backend out\n  server one 127.0.0.1:9\n";
    let file = directory.path().join("haproxy.cfg");
    fs::write(&file, configuration).expect("a configuration");
    let haproxy = Child::spawn(namespace.command(tool("haproxy")).args(["-db", "-f"]).arg(&file));
    let opened = opened_by(&namespace, &agent, &haproxy, 8085);
    let functions = functions_of(&opened, "haproxy");
    assert_eq!(functions[..2], [Some("sock_accept_conn"), Some("listener_accept")], "{opened:#}");
    assert!(functions.contains(&Some("run_poll_loop")), "{opened:#}");
}

/// The call is in a library that exports its functions, the program exports none.
#[test]
fn openssl_s_server_is_named_by_what_libcrypto_exports() {
    needs(&["openssl", "bash"]);
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let directory = TempDir::new().expect("a directory");
    let (key, certificate) = (directory.path().join("key.pem"), directory.path().join("cert.pem"));
    make_certificate(&namespace, &key, &certificate);
    let mut openssl = namespace.command(tool("openssl"));
    openssl.args(["s_server", "-quiet", "-accept", "127.0.0.1:8084", "-key"]).arg(&key).arg("-cert").arg(&certificate);
    let openssl = Child::spawn(&mut openssl);
    let opened = opened_by(&namespace, &agent, &openssl, 8084);
    let functions = functions_of(&opened, "libcrypto.so.3");
    assert_eq!(functions.first(), Some(&Some("BIO_accept_ex")), "{opened:#}");
    let functions = functions_of(&opened, "openssl");
    assert!(functions.len() >= 3 && functions.iter().all(Option::is_none), "{opened:#}");
}

fn make_certificate(namespace: &Netns, key: &Path, certificate: &Path) {
    let mut openssl = namespace.command(tool("openssl"));
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2", "-keyout"]);
    let made = run(openssl.arg(key).arg("-out").arg(certificate), seconds(60));
    assert_eq!(made.code, Some(0), "{}", made.stderr);
}
