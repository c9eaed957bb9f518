//! As much of an HTTP/1.1 client as the tests need: one request per connection.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// bcrypt's of `secret`, for a configuration that asks for a password.
pub const HASH: &str = "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a server listens.
#[derive(Clone, Debug)]
pub enum Server {
    Tcp(u16),
    Unix(PathBuf),
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    /// Empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// # Panics
    /// When the body is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }
}

impl Server {
    /// # Errors
    /// When nobody answers, or not in HTTP.
    pub fn get(&self, path: &str) -> io::Result<Response> {
        self.request("GET", path, &[])
    }

    /// Headers given here replace those that a client sends by default.
    ///
    /// # Errors
    /// When nobody answers, or not in HTTP.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> io::Result<Response> {
        self.send(method, path, headers, "")
    }

    /// The same with a body.
    ///
    /// # Errors
    /// When nobody answers, or not in HTTP.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> io::Result<Response> {
        let host = match self {
            Server::Tcp(port) => format!("127.0.0.1:{port}"),
            Server::Unix(_) => "localhost".to_owned(),
        };
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request += &format!("Host: {host}\r\n");
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        request += &format!("\r\n{body}");
        parse(&self.talk(request.as_bytes(), is_complete)?)
    }

    /// Sends bytes, and reads what comes until the server closes.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn exchange(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        self.talk(request, |_| false)
    }

    /// Reads until the server closes, or the answer is all there.
    fn talk(&self, request: &[u8], is_all: impl Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
        match self {
            Server::Tcp(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                talk(stream, request, is_all)
            }
            Server::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                talk(stream, request, is_all)
            }
        }
    }
}

fn talk(mut stream: impl Read + Write, request: &[u8], is_all: impl Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
    stream.write_all(request)?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    while !is_all(&answer) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
            // Reads with a deadline are not begun again by the kernel.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

/// Whether an answer that says its length is there: not every server closes when asked to.
fn is_complete(answer: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(answer) else { return false };
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().filter_map(|line| line.split_once(':'));
    let mut length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.next().and_then(|(_, length)| length.trim().parse().ok()).is_some_and(|length: usize| body.len() >= length)
}

fn parse(answer: &[u8]) -> io::Result<Response> {
    let malformed = |what| io::Error::other(format!("{what}: {}", String::from_utf8_lossy(answer)));
    let text = str::from_utf8(answer).map_err(|_| malformed("not UTF-8"))?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| malformed("no end of the headers"))?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut response =
        Response { status: status.ok_or_else(|| malformed("no status"))?, headers, body: body.to_owned() };
    if response.header("transfer-encoding") == "chunked" {
        response.body = unchunk(body).ok_or_else(|| malformed("broken chunks"))?;
    }
    Ok(response)
}

fn unchunk(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (length, after) = rest.split_once("\r\n")?;
        let length = usize::from_str_radix(length.split(';').next()?, 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body += after.get(..length)?;
        rest = after.get(length..)?.strip_prefix("\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let response = parse(b"HTTP/1.1 404 Not Found\r\nContent-Type: text/x\r\n\r\nbody").unwrap();
        assert_eq!(response.status, 404);
        assert_eq!(response.header("content-type"), "text/x");
        assert_eq!(response.body, "body");
    }

    #[test]
    fn chunks_are_joined() {
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n";
        assert_eq!(parse(answer).unwrap().body, "abcde");
    }

    #[test]
    fn half_an_answer_is_an_error() {
        assert!(parse(b"HTTP/1.1 200 OK\r\nContent-").is_err());
    }
}
