use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

use super::super::OwnerSocket;
use super::*;
use crate::api::Report;
use crate::api::Snapshot;
use crate::output::sample;

/// A running server, ended when dropped.
struct Server {
    address: SocketAddr,
    socket: PathBuf,
    snapshots: Arc<ArcSwap<Snapshot>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

async fn start_with(snapshot: Snapshot, details_over_tcp: bool) -> Server {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("agent.sock");
    let snapshots = Arc::new(ArcSwap::from_pointee(snapshot));
    let config = Config {
        snapshots: Arc::clone(&snapshots),
        telemetry_path: "/metrics".to_owned(),
        details_over_tcp,
        hosts: vec!["node-7".to_owned()],
        access: Access::default(),
    };
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let listeners = Listeners { tcp: Some(tcp), owner: Some(OwnerSocket::open(&socket).unwrap()) };
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(serve(config, listeners, stopped));
    Server { address, socket, snapshots, stop, task, _directory: directory }
}

async fn start() -> Server {
    start_with(sample::snapshot(), false).await
}

impl Server {
    /// The whole answer to these bytes over TCP.
    async fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn get(&self, path: &str, headers: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")).await
    }

    async fn get_as_owner(&self, path: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: whatever.example\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or("none")
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[tokio::test]
async fn every_path_answers_as_the_table_says() {
    let server = start().await;
    let cases = [
        ("/", "200", "text/html; charset=utf-8"),
        ("/metrics", "200", "text/plain; version=0.0.4; charset=utf-8"),
        ("/api/v1/leaks", "200", "application/json"),
        ("/api/v1/leaks?pid=4117", "200", "application/json"),
        ("/api/v1/doctor", "200", "application/json"),
        ("/healthz", "200", "text/plain; charset=utf-8"),
        ("/readyz", "200", "text/plain; charset=utf-8"),
        ("/nowhere", "404", "application/json"),
        ("/metrics/", "404", "application/json"),
        ("/api/v1/leaks?pid=x", "400", "application/json"),
    ];
    for (path, expected, content_type) in cases {
        let answer = server.get(path, "").await;
        assert_eq!(status(&answer), expected, "{path}");
        assert!(answer.contains(&format!("content-type: {content_type}\r\n")), "{path}: {answer}");
    }
}

#[tokio::test]
async fn an_error_is_one_line_of_json() {
    let server = start().await;
    let answer = server.get("/api/v1/leaks?limit=0", "").await;
    assert_eq!(body(&answer), "{\"error\":\"limit: must be a whole number of at least 1\"}\n");
    let answer = server.send("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi").await;
    assert_eq!(status(&answer), "405");
    assert_eq!(body(&answer), "{\"error\":\"only GET and HEAD are answered\"}\n");
    let answer = server.send("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!((status(&answer), body(&answer)), ("200", ""));
}

#[tokio::test]
async fn metrics_are_openmetrics_for_those_who_ask() {
    let server = start().await;
    let answer = server.get("/metrics", "Accept: application/openmetrics-text\r\n").await;
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"));
    assert!(body(&answer).starts_with("# HELP tlsclose_sockets ") && answer.ends_with("# EOF\n"));
    let answer = server.get("/metrics", "Accept: */*\r\n").await;
    assert!(answer.contains("# TYPE process_cpu_seconds_total counter\n") && !answer.contains("# EOF"));
}

#[tokio::test]
async fn details_are_the_owners() {
    let server = start().await;
    let public: Report = serde_json::from_str(body(&server.get("/api/v1/leaks", "").await)).unwrap();
    assert!(public.sites[0].examples.is_empty());
    let owner: Report = serde_json::from_str(body(&server.get_as_owner("/api/v1/leaks").await)).unwrap();
    assert_eq!(owner, sample::report());
    let filtered = server.get("/api/v1/leaks?limit=1", "").await;
    assert!(!filtered.contains("10.0.0.4") && !filtered.contains("secret"));
    let open = start_with(sample::snapshot(), true).await;
    let public: Report = serde_json::from_str(body(&open.get("/api/v1/leaks", "").await)).unwrap();
    assert_eq!(public, sample::report());
}

#[tokio::test]
async fn the_report_can_be_filtered() {
    let server = start().await;
    for (query, expected) in
        [("?kind=fin_wait2_held", vec![sample::OTHER_SITE]), ("?limit=1", vec![sample::SITE]), ("?comm=nobody", vec![])]
    {
        let answer = server.get_as_owner(&format!("/api/v1/leaks{query}")).await;
        let report: Report = serde_json::from_str(body(&answer)).unwrap();
        let sites: Vec<String> = report.sites.into_iter().map(|site| site.site).collect();
        assert_eq!(sites, expected, "{query}");
    }
}

#[tokio::test]
async fn the_agent_is_ready_after_the_first_census() {
    let mut snapshot = sample::snapshot();
    snapshot.ready = false;
    let server = start_with(snapshot, false).await;
    assert_eq!(status(&server.get("/readyz", "").await), "503");
    assert_eq!(status(&server.get("/healthz", "").await), "200");
    server.snapshots.store(Arc::new(sample::snapshot()));
    assert_eq!(status(&server.get("/readyz", "").await), "200");
}

#[tokio::test]
async fn a_foreign_host_name_is_refused_over_tcp() {
    let server = start().await;
    let cases = [
        ("Host: evil.example\r\n", "421"),
        ("Host: node-7:9988\r\n", "200"),
        ("Host: 127.0.0.1:9988\r\n", "200"),
        ("Host: a\r\nHost: localhost\r\n", "421"),
        ("", "421"),
    ];
    for (header, expected) in cases {
        let answer = server.send(&format!("GET /healthz HTTP/1.1\r\n{header}\r\n")).await;
        assert_eq!(status(&answer), expected, "{header}");
    }
    let answer = server.get_as_owner("/healthz").await;
    assert_eq!(status(&answer), "200");
}

#[tokio::test]
async fn oversized_requests_are_cut_off() {
    let server = start().await;
    let long = "x".repeat(HEAD_BYTES + 1);
    let answer = server.get("/healthz", &format!("X-Long: {long}\r\n")).await;
    assert!(["431", "none"].contains(&status(&answer)), "{answer}");
    let many: String = (0..200).map(|at| format!("X-{at}: 1\r\n")).collect();
    assert_eq!(status(&server.get("/healthz", &many).await), "431");
    let answer = server.get(&format!("/{long}"), "").await;
    assert!(["414", "431", "none"].contains(&status(&answer)), "{answer}");
    assert_eq!(status(&server.get("/healthz", "").await), "200");
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_is_cut_off() {
    let server = start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").await.unwrap();
    let start = tokio::time::Instant::now();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(start.elapsed() <= HEAD_TIMEOUT + Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_full_house_waits_and_is_served_when_a_place_is_free() {
    let server = start().await;
    let mut idle = Vec::new();
    for _ in 0..TCP_CONNECTIONS {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    let waiting = server.get("/healthz", "");
    tokio::pin!(waiting);
    assert!(timeout(Duration::from_millis(300), &mut waiting).await.is_err());
    assert_eq!(status(&server.get_as_owner("/healthz").await), "200", "the owner has places of its own");
    idle.clear();
    assert_eq!(status(&waiting.await), "200");
}

#[tokio::test]
async fn it_ends_in_time_and_takes_its_socket_with_it() {
    let server = start().await;
    let _idle = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(status(&server.get("/healthz", "").await), "200");
    let start = Instant::now();
    server.stop.send(true).unwrap();
    server.task.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(!server.socket.exists());
    assert!(TcpStream::connect(server.address).await.is_err());
}
