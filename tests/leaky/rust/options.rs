//! The command line: `leaky COMMAND [--option value]…`.

use std::ffi::CString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
    /// IPv4 through an IPv6 socket.
    Mapped,
}

impl Family {
    pub fn dial(self, port: u16) -> SocketAddr {
        let ip = match self {
            Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
            Family::Mapped => IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped()),
        };
        SocketAddr::new(ip, port)
    }

    /// An IPv6 wildcard listener takes IPv4 as well.
    pub fn listen(self, port: u16) -> SocketAddr {
        match self {
            Family::Mapped => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
            family => family.dial(port),
        }
    }
}

pub struct Options {
    /// A way to leak, or `peer`.
    pub command: String,
    /// Of a peer: whose peer it is.
    pub way: String,
    pub count: usize,
    /// Connections per second, 0: as fast as possible.
    pub rate: f64,
    /// The program ends itself after this long.
    pub lifetime: Duration,
    /// Close everything this long after `ready`.
    pub recover_after: Option<Duration>,
    pub port: u16,
    pub family: Family,
    /// Threads that handle connections; 0: the main thread does.
    pub threads: usize,
    /// Do the same work, and close.
    pub healthy: bool,
    /// Close all but every so many.
    pub leak_every: usize,
}

impl Options {
    pub fn parse() -> Options {
        let mut options = Options {
            command: String::new(),
            way: String::new(),
            count: 10,
            rate: 0.0,
            lifetime: Duration::from_secs(30),
            recover_after: None,
            port: 0,
            family: Family::V4,
            threads: 0,
            healthy: false,
            leak_every: 1,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| usage(&format!("{word} needs a value")));
            match word.as_str() {
                "--way" => options.way = value(),
                "--count" => options.count = number(&value()),
                "--rate" => options.rate = number(&value()),
                "--for" => options.lifetime = Duration::from_secs_f64(number(&value())),
                "--recover-after" => options.recover_after = Some(Duration::from_secs_f64(number(&value()))),
                "--port" => options.port = number(&value()),
                "--family" => options.family = family(&value()),
                "--threads" => options.threads = number(&value()),
                "--comm" => rename(&value()),
                "--leak-every" => options.leak_every = number(&value()),
                "--healthy" => options.healthy = true,
                _ if word.starts_with("--") || !options.command.is_empty() => usage(&format!("what is {word}?")),
                _ => options.command = word,
            }
        }
        options
    }

    /// Between two connections.
    pub fn pause(&self) -> Duration {
        if self.rate > 0.0 { Duration::from_secs_f64(1.0 / self.rate) } else { Duration::ZERO }
    }
}

pub fn usage(problem: &str) -> ! {
    eprintln!(
        "leaky: {problem}
usage: leaky WAY [--count N] [--rate PER_SECOND] [--for SECONDS] [--port P] [--family 4|6|mapped]
             [--threads N] [--recover-after SECONDS] [--comm NAME] [--healthy] [--leak-every N]
ways: {}",
        crate::ways::NAMES.join(" ")
    );
    std::process::exit(2)
}

fn number<T: FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| usage(&format!("{text} is no number")))
}

fn family(name: &str) -> Family {
    match name {
        "4" => Family::V4,
        "6" => Family::V6,
        "mapped" => Family::Mapped,
        _ => usage("--family is 4, 6 or mapped"),
    }
}

fn rename(name: &str) {
    let name = CString::new(name).unwrap_or_else(|_| usage("--comm holds a zero byte"));
    rustix::thread::set_name(&name).unwrap_or_else(|error| usage(&format!("--comm: {error}")));
}
