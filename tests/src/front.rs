//! A server before the agent: its pages, policies and answers, but with a report that was changed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use serde_json::Value;

use crate::http::Server;

/// It serves until the test's process ends.
pub struct Front {
    port: u16,
}

impl Front {
    /// # Panics
    /// When there is no port.
    pub fn start(agent: Server, change: impl Fn(&mut Value) + Send + Sync + 'static) -> Front {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let change = Arc::new(change);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (agent, change) = (agent.clone(), Arc::clone(&change));
                // A browser opens connections ahead of need, and gives up on some.
                std::thread::spawn(move || answer(stream, &agent, &*change));
            }
        });
        Front { port }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

fn answer(mut stream: TcpStream, agent: &Server, change: &impl Fn(&mut Value)) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => request.extend_from_slice(&buffer[..read]),
        }
    }
    let request = String::from_utf8_lossy(&request);
    let path = request.split(' ').nth(1).unwrap_or("/");
    let answer = agent.get(path)?;
    let body = if path == "/api/v1/leaks" {
        let mut report = answer.json();
        change(&mut report);
        report.to_string()
    } else {
        answer.body.clone()
    };
    let mut head = format!("HTTP/1.1 {} OK\r\nConnection: close\r\nContent-Length: {}\r\n", answer.status, body.len());
    for name in ["content-type", "content-security-policy", "x-content-type-options"] {
        let value = answer.header(name);
        if !value.is_empty() {
            head += &format!("{name}: {value}\r\n");
        }
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes())
}
