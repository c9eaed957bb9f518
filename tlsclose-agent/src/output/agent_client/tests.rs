use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::api::Report;
use crate::output::sample;
use tlsclose_core::model::Kind;

const DEADLINE: Duration = Duration::from_secs(5);

fn http(address: std::net::SocketAddr) -> Target {
    Target::new(Some(&format!("http://{address}")), Path::new("/unused")).unwrap()
}

/// A server that reads one request and answers with these bytes.
async fn answering(answer: Vec<u8>) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = http(listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(&answer).await;
    });
    target
}

fn response(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[test]
fn a_url_is_read_or_refused_in_one_line() {
    let cases = [
        ("http://node-7:9988", "http://node-7:9988"),
        ("http://node-7", "http://node-7:9988"),
        ("http://node-7:80/tlsclose/", "http://node-7:80/tlsclose"),
        ("http://[::1]:9988", "http://[::1]:9988"),
    ];
    for (url, expected) in cases {
        let target = Target::new(Some(url), Path::new("/s")).unwrap();
        assert_eq!(target.to_string(), expected);
    }
    for url in ["node-7:9988", "https://node-7", "http://", "http://u:p@a", "http://a/?x", "a\nb"] {
        let error = Target::new(Some(url), Path::new("/s")).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{url}");
        let error = error.to_string();
        assert!(error.ends_with(": write it like http://node-7:9988") && !error.contains('\n'));
    }
    let socket = Target::new(None, Path::new("/run/s")).unwrap();
    assert_eq!(socket, Target::Socket("/run/s".into()));
}

#[test]
fn a_filter_becomes_a_query() {
    let filter =
        Filter { kind: Some(Kind::ResetHeld), pid: Some(7), comm: Some("a b&c=d".to_owned()), ..Filter::default() };
    let path = leaks_path(&filter);
    assert_eq!(path, "/api/v1/leaks?kind=reset_held&pid=7&comm=a+b%26c%3Dd");
    let read = crate::output::http::query::parse(&path.parse().unwrap()).unwrap();
    assert_eq!(read.filter, filter);
    assert_eq!(leaks_path(&Filter::default()), "/api/v1/leaks");
}

#[tokio::test]
async fn a_report_is_read() {
    let body = serde_json::to_string(&sample::report()).unwrap();
    let target = answering(response("200 OK", &body)).await;
    let report: Report = target.get("/api/v1/leaks", DEADLINE).await.unwrap();
    assert_eq!(report, sample::report());
}

#[tokio::test]
async fn every_failure_is_one_line_with_its_exit_code() {
    let cases = [
        (response("400 Bad Request", "{\"error\":\"pid: no\x1b\"}"), 2, "refused: "),
        (response("500 Oops", "<html>"), 2, "refused: status 500 Internal Server Error"),
        (response("200 OK", "[]"), 3, "the answer cannot be read: "),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec(), 3, "lost contact with the agent at "),
        (b"nonsense".to_vec(), 3, "lost contact with the agent at "),
        (vec![], 3, "lost contact with the agent at "),
    ];
    for (answer, code, expected) in cases {
        let shown = String::from_utf8_lossy(&answer).into_owned();
        let target = answering(answer).await;
        let error = target.get::<Report>("/api/v1/leaks", DEADLINE).await.unwrap_err();
        assert_eq!(error.exit_code(), code, "{shown}");
        let error = error.to_string();
        assert!(error.contains(expected) && !error.contains(['\n', '\x1b']), "{error}");
    }
}

#[tokio::test]
async fn no_agent_is_told_from_a_lost_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = http(listener.local_addr().unwrap());
    drop(listener);
    for target in [gone, Target::Socket("/nowhere/agent.sock".into())] {
        let error = target.get::<Report>("/", DEADLINE).await.unwrap_err();
        assert!(matches!(error, ClientError::NoAgent(_)), "{error}");
        assert_eq!(error.exit_code(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn silence_ends_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = http(listener.local_addr().unwrap());
    let error = target.get::<Report>("/", DEADLINE).await.unwrap_err();
    assert_eq!(error.to_string(), format!("lost contact with the agent at {target}: no answer within 5 s"));
}
