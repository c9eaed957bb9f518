//! The other end, in a process of its own, so that every socket of the holder's PID is one that it
//! leaks. Against a server it connects; against a client it accepts on its standard input.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use crate::options::{Family, Options};
use crate::ways::{self, Open};

/// Starts this program again as the peer; `listener` for one that accepts.
pub fn start(options: &Options, port: u16, listener: Option<TcpListener>) -> io::Result<Child> {
    // A v4-mapped server is reached by IPv4.
    let family = if options.family == Family::V6 { "6" } else { "4" };
    let mut peer = Command::new("/proc/self/exe");
    peer.args(["peer", "--comm", "leaky-peer", "--way", &options.command, "--family", family])
        .args(["--count", &options.count.to_string(), "--rate", &options.rate.to_string()])
        .args(["--for", &(options.lifetime.as_secs_f64() + 5.0).to_string(), "--port", &port.to_string()])
        .args(options.healthy.then_some("--healthy"))
        .stdin(listener.map_or_else(Stdio::null, |listener| Stdio::from(OwnedFd::from(listener))))
        .spawn()
}

pub fn run(options: &Options) -> io::Result<()> {
    let end = Instant::now() + options.lifetime;
    let Some(way) = ways::find(&options.way) else { crate::options::usage("a peer needs --way") };
    let mut silent = Vec::new();
    match way.open {
        Open::Accept(_) => {
            let mut next = Instant::now();
            for _ in 0..options.count {
                thread::sleep(next.saturating_duration_since(Instant::now()));
                next += options.pause();
                silent.extend(converse(TcpStream::connect(options.family.dial(options.port))?, options)?);
            }
        }
        Open::Connect(_) => {
            let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
            for _ in 0..options.count {
                silent.extend(serve(listener.accept()?.0, options)?);
            }
        }
    }
    thread::sleep(end.saturating_duration_since(Instant::now()));
    Ok(())
}

/// What the peer of a server does on one connection. Returns it where it stays silent on it.
fn converse(mut stream: TcpStream, options: &Options) -> io::Result<Option<TcpStream>> {
    stream.write_all(b"ping")?;
    match options.way.as_str() {
        "half_close" if !options.healthy => return Ok(Some(stream)),
        "half_close" => drain(&mut stream)?,
        "never_read" => {
            stream.read_exact(&mut [0; 4])?;
            stream.write_all(b"more")?;
        }
        "reset_forget" => {
            stream.read_exact(&mut [0; 4])?;
            set_socket_linger(&stream, Some(Duration::ZERO))?;
        }
        _ => {}
    }
    Ok(None)
}

/// What the peer of a client does on one connection.
fn serve(mut stream: TcpStream, options: &Options) -> io::Result<Option<TcpStream>> {
    match options.way.as_str() {
        "client_forget" => stream.write_all(b"hello")?,
        _ if !options.healthy => return Ok(Some(stream)),
        _ => drain(&mut stream)?,
    }
    Ok(None)
}

fn drain(stream: &mut TcpStream) -> io::Result<()> {
    io::copy(stream, &mut io::sink()).map(drop)
}
