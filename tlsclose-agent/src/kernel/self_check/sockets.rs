//! Sockets of which everything is known, because this process has just made them.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd, RawFd},
    time::Duration,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tlsclose_common::facts::state;

/// The loopback answers at once, unless something is in the way.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the listener is, and where the kernel has the others connect from: the address of the loopback.
const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const THERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Children that fit into the accept queue.
pub const BACKLOG: u32 = 7;

/// What the one that gives up has sent before.
pub const UNREAD: &[u8] = b"unread";

/// Pairs on the loopback, one for each way to be half-closed, and a listener with two connections that
/// nobody has accepted.
pub struct Sockets {
    listener: TcpListener,
    /// Has read all, and the end: CLOSE_WAIT. An IPv6 socket where there is IPv6.
    client: TcpStream,
    /// Its other end, which has sent five bytes and shut down: FIN_WAIT2.
    server: TcpStream,
    /// Was reset by its peer: CLOSE.
    reset: TcpStream,
    /// Where that peer was.
    resetter: u16,
    /// The first connection in the queue.
    _waiting: TcpStream,
    /// The port of the second one's other end, which is closed.
    given_up: u16,
}

/// What must be read of a socket.
#[derive(Clone, Debug)]
pub struct Known {
    /// For people.
    pub what: &'static str,
    pub fd: RawFd,
    pub local_port: u16,
    pub remote_port: u16,
    /// AF_INET or AF_INET6.
    pub family: u8,
    /// IPv4 takes the first four bytes.
    pub local: [u8; 16],
    pub remote: [u8; 16],
    pub state: u8,
    /// `sk_shutdown`.
    pub shutdown: u8,
}

/// What must be read of all of them.
#[derive(Clone, Debug)]
pub struct Picture {
    pub client: Known,
    pub server: Known,
    pub reset: Known,
    pub listener: Known,
    /// Remote port of the connection in the queue that its peer has closed.
    pub given_up: u16,
}

impl Picture {
    /// Whether this is the local port of one of them.
    pub fn has_port(&self, port: u16) -> bool {
        [&self.client, &self.server, &self.reset, &self.listener].iter().any(|known| known.local_port == port)
    }
}

impl Sockets {
    pub fn open() -> io::Result<Self> {
        let listener = listener()?;
        let port = listener.local_addr()?.port();
        let connect = || TcpStream::connect_timeout(&(HERE, port).into(), PATIENCE);
        let mapped = SocketAddr::from((HERE.to_ipv6_mapped(), port));
        let mut client = TcpStream::connect_timeout(&mapped, PATIENCE).or_else(|_| connect())?;
        client.set_read_timeout(Some(PATIENCE))?;
        let (mut server, _) = listener.accept()?;
        let resetter = connect()?;
        let (reset, _) = listener.accept()?;
        let (waiting, mut given_up) = (connect()?, connect()?);

        given_up.write_all(UNREAD)?;
        server.write_all(b"hello")?;
        server.shutdown(Shutdown::Write)?;
        let mut received = Vec::new();
        client.read_to_end(&mut received)?;
        // Acknowledges at once, and not in 40 ms.
        sockopt::set_tcp_quickack(&client, true)?;
        let (resetters_port, given_ups_port) = (resetter.local_addr()?.port(), given_up.local_addr()?.port());
        close_by_reset(resetter)?;
        drop(given_up);
        Ok(Self {
            listener,
            client,
            server,
            reset,
            resetter: resetters_port,
            _waiting: waiting,
            given_up: given_ups_port,
        })
    }

    pub fn picture(&self) -> io::Result<Picture> {
        let port = self.listener.local_addr()?.port();
        let mine = self.client.local_addr()?;
        let known = |what, fd: &dyn AsRawFd, local, remote, state| Known {
            what,
            fd: fd.as_raw_fd(),
            local_port: port,
            remote_port: mine.port(),
            family: AddressFamily::INET.as_raw() as u8,
            local: v4(local),
            remote: v4(remote),
            state,
            shutdown: 0,
        };
        let server = known("accepted", &self.server, HERE, THERE, state::FIN_WAIT2);
        let reset = known("reset", &self.reset, HERE, THERE, state::CLOSE);
        let listener = known("listening", &self.listener, HERE, Ipv4Addr::UNSPECIFIED, state::LISTEN);
        let client = known("connected", &self.client, THERE, HERE, state::CLOSE_WAIT);
        let mut client = Known { local_port: mine.port(), remote_port: port, shutdown: 1, ..client };
        if mine.is_ipv6() {
            client.family = AddressFamily::INET6.as_raw() as u8;
            client.local = THERE.to_ipv6_mapped().octets();
            client.remote = HERE.to_ipv6_mapped().octets();
        }
        Ok(Picture {
            client,
            server: Known { shutdown: 2, ..server },
            reset: Known { shutdown: 3, remote_port: self.resetter, ..reset },
            listener: Known { remote_port: 0, ..listener },
            given_up: self.given_up,
        })
    }

    /// Closes all of them, with a reset where one would go on waiting otherwise.
    pub fn close(self) -> io::Result<()> {
        close_by_reset(self.server)
    }
}

fn v4(address: Ipv4Addr) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&address.octets());
    bytes
}

/// With a backlog that is known. `accept` gives up in time.
fn listener() -> io::Result<TcpListener> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddr::from((HERE, 0)))?;
    rustix::net::listen(&socket, BACKLOG as i32)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
    Ok(socket.into())
}

fn close_by_reset(socket: TcpStream) -> io::Result<()> {
    Ok(sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?)
}
