//! Ordinary programs at ordinary work: nothing leaks, and nobody is accused.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::child::{Child, run};
use tlsclose_tests::expect::{assert_names_everything, wait_for_site};
use tlsclose_tests::host::{needs, tool};
use tlsclose_tests::leaky::{Language, Leaky, load, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{is_leaking, list, sites_of, sockets_of};
use tlsclose_tests::seconds;

const PORT: u16 = 8080;

/// Looks at every report while `load` runs and until what it left would have lingered: no process
/// of the server or the load is leaking.
fn assert_nothing_leaks(agent: &Agent, server: &Child, load: &mut Child) {
    let mut pids = BTreeSet::new();
    let mut look = || {
        pids.extend(server.tree());
        let report = agent.leaks();
        for &pid in &pids {
            assert!(!is_leaking(&report, pid), "{:#?}", sites_of(&report, pid));
        }
        std::thread::sleep(Duration::from_millis(300));
    };
    let end = Instant::now() + seconds(300);
    while load.try_wait().is_none() {
        assert!(Instant::now() < end, "the load has no end: {}", load.stdout());
        look();
    }
    let end = Instant::now() + seconds(4);
    while Instant::now() < end {
        look();
    }
    let status = load.try_wait().expect("an end");
    assert!(status.success(), "the load failed: {}{}", load.stdout(), load.stderr());
}

/// New connections for some seconds, then kept-alive ones.
fn wrk(namespace: &Netns, url: &str) -> Child {
    let script = "wrk -t 1 -c 40 -d 4s -H 'Connection: close' \"$0\" && wrk -t 1 -c 40 -d 4s \"$0\"";
    Child::spawn(namespace.command("sh").args(["-c", script, url]))
}

fn assert_served(load: &Child) {
    let served = load.stdout();
    let counts = served.lines().filter(|line| line.contains(" requests in "));
    let counts: Vec<&str> = counts.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(counts.len() == 2 && !counts.contains(&"0"), "{served}");
}

#[test]
fn nginx_under_load() {
    needs(&["nginx", "wrk"]);
    let namespace = Netns::new();
    let directory = TempDir::new().expect("a directory");
    let root = directory.path().display();
    fs::write(directory.path().join("index.html"), "hello\n").expect("a page");
    let configuration = format!(
        "user root; worker_processes 2; daemon off; pid {root}/pid; error_log stderr;
         events {{ worker_connections 512; }}
         http {{ access_log off; keepalive_timeout 2s; client_body_temp_path {root}/body;
           proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;
           uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
           server {{ listen 127.0.0.1:{PORT}; root {root}; }} }}"
    );
    let file = directory.path().join("nginx.conf");
    fs::write(&file, configuration).expect("a configuration");
    let agent = Agent::start();
    let mut nginx = namespace.command(tool("nginx"));
    let nginx = Child::spawn(nginx.args(["-e", "stderr", "-c"]).arg(&file));
    namespace.wait_for_listener(PORT);
    let mut load = wrk(&namespace, &format!("http://127.0.0.1:{PORT}/"));
    assert_nothing_leaks(&agent, &nginx, &mut load);
    assert_served(&load);
}

#[test]
fn the_python_http_server() {
    needs(&["python3", "wrk"]);
    let namespace = Netns::new();
    let directory = TempDir::new().expect("a directory");
    fs::write(directory.path().join("index.html"), "hello\n").expect("a page");
    let agent = Agent::start();
    let mut python = namespace.command(tool("python3"));
    python.args(["-m", "http.server", "--bind", "127.0.0.1", &PORT.to_string()]);
    let python = Child::spawn(python.current_dir(directory.path()));
    namespace.wait_for_listener(PORT);
    let mut load = wrk(&namespace, &format!("http://127.0.0.1:{PORT}/"));
    assert_nothing_leaks(&agent, &python, &mut load);
    assert_served(&load);
}

#[test]
fn openssl_s_server() {
    needs(&["openssl", "wrk"]);
    let namespace = Netns::new();
    let directory = TempDir::new().expect("a directory");
    make_certificate(directory.path());
    // As s_server sends it: with headers.
    let page = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n";
    fs::write(directory.path().join("page"), page).expect("a page");
    let agent = Agent::start();
    let mut server = namespace.command(tool("openssl"));
    server.args(["s_server", "-quiet", "-HTTP", "-key", "key.pem", "-cert", "cert.pem"]);
    server.args(["-accept", &PORT.to_string()]);
    let server = Child::spawn(server.current_dir(directory.path()));
    namespace.wait_for_listener(PORT);
    let mut load = wrk(&namespace, &format!("https://127.0.0.1:{PORT}/page"));
    assert_nothing_leaks(&agent, &server, &mut load);
    assert_served(&load);
}

fn make_certificate(directory: &Path) {
    let words = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost \
                 -keyout key.pem -out cert.pem";
    let mut request = std::process::Command::new(tool("openssl"));
    let output = run(request.args(words.split_whitespace()).current_dir(directory), seconds(30));
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[test]
fn redis_with_clients_that_keep_their_connections() {
    needs(&["redis-server", "redis-benchmark"]);
    let namespace = Netns::new();
    let directory = TempDir::new().expect("a directory");
    let agent = Agent::start();
    let mut redis = namespace.command(tool("redis-server"));
    redis.args(["--bind", "127.0.0.1", "--port", "8080", "--save", "", "--appendonly", "no"]);
    let redis = Child::spawn(redis.arg("--dir").arg(directory.path()));
    namespace.wait_for_listener(PORT);
    // Kept alive, connecting anew for each command, and a client that does nothing at all.
    let script = "sleep 9 | redis-cli -p 8080 > /dev/null &
                  redis-benchmark -p 8080 -c 50 -n 50000 -q -t get,set &&
                  redis-benchmark -p 8080 -c 50 -n 10000 -k 0 -q -t get && wait";
    let mut load = Child::spawn(namespace.command("sh").args(["-c", script]));
    assert_nothing_leaks(&agent, &redis, &mut load);
}

#[test]
fn postgresql_with_clients_that_keep_their_connections() {
    needs(&["postgres", "initdb", "pgbench", "setpriv"]);
    let namespace = Netns::new();
    let directory = TempDir::new().expect("a directory");
    let chown = ["postgres", directory.path().to_str().expect("UTF-8")];
    let output = run(std::process::Command::new("chown").args(chown), seconds(5));
    assert_eq!(output.code, Some(0), "{output:?}");
    let data = directory.path().join("data");
    let as_postgres = |program: &str| {
        let mut command = namespace.command(tool("setpriv"));
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
        command.arg(tool(program)).current_dir(directory.path()).env("LC_ALL", "C");
        command
    };
    let mut initdb = as_postgres("initdb");
    let output = run(initdb.args(["-A", "trust", "-N", "-D"]).arg(&data), seconds(60));
    assert_eq!(output.code, Some(0), "{output:?}");
    let agent = Agent::start();
    let mut postgres = as_postgres("postgres");
    postgres.args(["-p", "8080", "-h", "127.0.0.1", "-F", "-k"]).arg(directory.path());
    let postgres = Child::spawn(postgres.arg("-D").arg(&data));
    namespace.wait_for_listener(PORT);
    // Kept alive, then a new connection for each transaction.
    let script = "set -e; export PGHOST=127.0.0.1 PGPORT=8080 PGDATABASE=postgres PGUSER=postgres
                  \"$0\" -i -q; \"$0\" -c 10 -T 5 -S; \"$0\" -c 5 -T 3 -S -C";
    let mut load = as_postgres("sh");
    let mut load = Child::spawn(load.args(["-c", script]).arg(tool("pgbench")));
    assert_nothing_leaks(&agent, &postgres, &mut load);
    drop(load);
    postgres.signal(rustix::process::Signal::INT);
}

#[test]
fn a_long_response_to_a_half_closed_client_does_not_even_linger() {
    let namespace = Netns::new();
    let agent = Agent::start_with(&["--leak-after=1s"]);
    let mut server = load(&namespace, &["stream", "--count", "8", "--for", "14"]);
    let client = server.wait_for_line("peer ", seconds(5)).parse().expect("a PID");
    server.wait_for_line("ready ", seconds(5));
    let mut looks = 0;
    while server.try_wait().is_none() {
        let report = agent.leaks();
        for pid in [server.pid(), client] {
            let sites = sites_of(&report, pid);
            assert!(sites.is_empty(), "{sites:#?}");
        }
        looks += 1;
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(looks > 20, "it streamed while we looked");
}

/// A peer whose host is cut off neither acknowledges a FIN nor sends one.
#[test]
fn what_waits_for_a_lost_peer_is_shown_as_what_it_is_and_no_leak() {
    needs(&["ip"]);
    let [here, there] = [Netns::new(), Netns::new()];
    let agent = Agent::start();
    connect_namespaces(&here, &there);
    let server = ["cut_off", "--way", "server", "--count", "6", "--for", "25"];
    let mut server = load(&there, &server);
    let port = server.wait_for_line("listening ", seconds(5));
    let mut client = load(&here, &["cut_off", "--count", "6", "--for", "25", "--port", &port]);
    client.wait_for_line("connected ", seconds(5));
    // From now on, no answer gets back.
    there.ip("route add blackhole 10.77.0.1/32");
    for program in [&mut client, &mut server] {
        program.wait_for_line("ready ", seconds(10));
    }
    // What is older than the 2 s of `--leak-after` would show by then.
    agent.wait_for_censuses(10);
    let report = agent.leaks();
    for program in [&client, &server] {
        let sites = sites_of(&report, program.pid());
        assert!(sites.is_empty(), "{sites:#?}");
    }
    // Other tests may have some, too.
    let metrics = agent.metrics();
    let sockets = |state| metrics.sum("tlsclose_sockets", &[("state", state)]).unwrap_or(0.0);
    assert!(sockets("fin_wait1") >= 3.0, "shut down, held, and not acknowledged: {metrics:#?}");
    assert!(sockets("last_ack") >= 6.0, "both sides shut down, held, and not acknowledged: {metrics:#?}");
    let orphans = metrics.sum("tlsclose_orphaned_sockets", &[]);
    assert!(orphans >= Some(3.0), "closed, and not acknowledged: {orphans:?}");
}

/// By a pair of devices, as 10.77.0.1 and 10.77.0.2.
fn connect_namespaces(here: &Netns, there: &Netns) {
    here.ip(&format!("link add cable0 type veth peer name cable1 netns {}", there.name()));
    for (namespace, device, address) in [(here, "cable0", "10.77.0.1/24"), (there, "cable1", "10.77.0.2/24")] {
        namespace.ip(&format!("addr add {address} dev {device}"));
        namespace.ip(&format!("link set {device} up"));
    }
}

#[test]
fn a_pool_that_recycles_lingers_and_never_leaks() {
    let namespace = Netns::new();
    let agent = Agent::start();
    // Each of the 50 connections waits for 5 s in CLOSE_WAIT.
    let arguments = ["pool", "--count", "50", "--every", "0.1", "--for", "23"];
    let mut pool = load(&namespace, &arguments);
    pool.wait_for_line("ready ", seconds(5));
    let mut most = 0;
    while pool.try_wait().is_none() {
        let report = agent.leaks();
        assert!(!is_leaking(&report, pool.pid()), "{:#?}", sites_of(&report, pool.pid()));
        most = most.max(sockets_of(&report, pool.pid()));
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!((10..=50).contains(&most), "{most} of its 50 sockets lingered at once");
}

#[test]
fn a_census_at_full_speed_beside_a_churn_accuses_nobody() {
    let [busy, quiet] = [Netns::new(), Netns::new()];
    let agent = Agent::start_with(&["--census-interval=10ms", "--leak-after=1s"]);
    let arguments = ["--count", "7", "--rate", "2", "--for", "60"];
    let way = way_named("client_forget");
    let mut leaky = Leaky::start(&quiet, Language::C, way, &arguments);
    let mut churn = load(&busy, &["churn", "--for", "15"]);
    let mut last = agent.leaks();
    while churn.try_wait().is_none() {
        last = agent.leaks();
        assert_nobody_in(&last, &busy);
        std::thread::sleep(Duration::from_millis(50));
    }
    let connections = churn.wait_for_line("connections ", seconds(1));
    let connections: u64 = connections.parse().expect("a number");
    assert!(connections > 10_000, "{connections} in 15 s are no churn");
    assert!(sockets_of(&last, leaky.pid()) > 0, "{last:#}");
    let site = wait_for_site(&agent, &leaky, 7);
    assert_names_everything(&site, &mut leaky);
    assert_eq!(site["examples"][0]["netns"], quiet.inode(), "{site:#}");
    assert_nobody_in(&agent.leaks(), &busy);
}

/// No finding about any process or socket in a namespace.
fn assert_nobody_in(report: &serde_json::Value, namespace: &Netns) {
    for site in list(&report["sites"]) {
        let is_there = |example: &serde_json::Value| example["netns"] == namespace.inode();
        assert!(!list(&site["examples"]).any(is_there), "{site:#}");
    }
}
