//! One HTTP request to the agent, over its Unix socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The body of a successful answer, and how long it took from the connect to the last byte.
pub fn get(socket: &Path, path: &str) -> Result<(String, Duration)> {
    let start = Instant::now();
    let asked = || format!("{path} at {}", socket.display());
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("cannot ask for {}: does the agent run?", asked()))?;
    let patience = Some(Duration::from_secs(10));
    stream.set_read_timeout(patience).with_context(asked)?;
    stream.set_write_timeout(patience).with_context(asked)?;
    // 1.0, so that the answer is neither chunked nor kept alive.
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).with_context(asked)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("no whole answer for {}", asked()))?;
    let elapsed = start.elapsed();

    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        bail!("the agent answers {status} for {path}: {}", body.trim());
    }
    Ok((body.to_owned(), elapsed))
}
