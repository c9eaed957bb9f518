//! Where the agent listens: one TCP address, and the socket of its owner.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};

/// How many clients may wait to be accepted.
const BACKLOG: i32 = 64;

/// `host:port`; an empty host is every address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    pub host: String,
    pub port: u16,
}

impl FromStr for ListenAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "write it like 127.0.0.1:9988, [::1]:9988 or :9988";
        let (host, port) = text.rsplit_once(':').ok_or(FORM)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address,
            None if host.contains(':') => return Err(FORM),
            None => host,
        };
        Ok(Self { host: host.to_owned(), port: port.parse().map_err(|_| FORM)? })
    }
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// One line: where, why not, and what to do.
#[derive(Debug, Error)]
pub enum ListenError {
    #[error("cannot listen on {address}: {}: choose another with --web.listen-address", reason(source))]
    Tcp { address: ListenAddress, source: io::Error },
    #[error("cannot listen on {}: an agent already answers there: stop it, or choose another with --socket", .0.display())]
    Answered(PathBuf),
    #[error("cannot listen on {}: it is there and not a socket: choose another with --socket", .0.display())]
    NotASocket(PathBuf),
    #[error("cannot listen on {}: {}: choose another with --socket", path.display(), reason(source))]
    Unix { path: PathBuf, source: io::Error },
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "no interface has this address".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// Opens the TCP port. A name is looked up on this thread: no other is started, which would keep the
/// rights that this one gives up later.
///
/// Must be called within a tokio runtime.
pub fn tcp(address: &ListenAddress) -> Result<TcpListener, ListenError> {
    use std::net::TcpListener as Blocking;

    let bound = match address.host.as_str() {
        // Dual-stack where the host has IPv6.
        "" => match Blocking::bind(("::", address.port)) {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => Blocking::bind(("0.0.0.0", address.port)),
            bound => bound,
        },
        host => Blocking::bind((host, address.port)),
    };
    let listener = bound.and_then(|listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    });
    listener.map_err(|source| ListenError::Tcp { address: address.clone(), source })
}

/// The owner's socket; its file goes when this is dropped.
#[derive(Debug)]
pub struct OwnerSocket {
    pub listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl OwnerSocket {
    /// Opens the socket with mode 0600, and makes its directory.
    ///
    /// A file left by an agent that is gone is replaced; one that answers is not.
    /// Must be called within a tokio runtime.
    pub fn open(path: &Path) -> Result<Self, ListenError> {
        let failed = |source: io::Error| ListenError::Unix { path: path.to_owned(), source };
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(failed)?;
        }
        remove_stale(path)?;
        let listener = bind(path).map_err(failed)?;
        let inode = fs::symlink_metadata(path).map_err(failed)?.ino();
        Ok(Self { listener, path: path.to_owned(), inode })
    }
}

impl Drop for OwnerSocket {
    fn drop(&mut self) {
        // Another agent may have put its own there since.
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let failed = |source| ListenError::Unix { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ListenError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(_) => Err(ListenError::Answered(path.to_owned())),
    }
}

/// The mode is set between bind and listen: until then nobody can connect.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    rustix::net::listen(&socket, BACKLOG)?;
    UnixListener::from_std(socket.into())
}

#[cfg(test)]
mod tests;
