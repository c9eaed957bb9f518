//! What the agent and its symbol helper say to each other: one request, one answer, each a
//! length (four bytes, little-endian) and that much JSON. Neither side trusts the other's length.

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::sync::Arc;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::rule::Rule;
use crate::runtime::Runtime;

/// Longest message in either direction, in bytes.
pub const MESSAGE_MAX: usize = 4 << 20;

/// Places named by one request.
pub const PLACES_MAX: usize = 64;

/// Functions inlined into each other at one place, the outermost included.
pub const INLINED_MAX: usize = 32;

/// Longest name of a function or a file, in bytes; the rest is cut off.
pub const NAME_MAX: usize = 1024;

/// What the agent asks. Modules and processes have numbers that the agent chose.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Take the file that comes with this message as the contents of a module.
    Load {
        /// Its number from now on.
        module: u32,
        /// Without it only the symbol table is read, which asks for far less time and memory.
        debug_info: bool,
    },
    /// Take the file that comes with this message for the debug information of a module that is
    /// loaded, in place of the one before. Refused when it belongs to another build.
    Debug {
        /// Of a [`Request::Load`].
        module: u32,
        /// As in `Load`.
        debug_info: bool,
    },
    /// Forget a module, and close its file.
    Unload {
        /// Of a [`Request::Load`].
        module: u32,
    },
    /// The functions, files and lines at places.
    Names {
        /// Of a [`Request::Load`].
        module: u32,
        /// By its separate debug file too.
        by_debug: bool,
        /// At most [`PLACES_MAX`].
        places: Vec<Place>,
    },
    /// Take the file that comes with this message for the map of a JIT compiler's functions.
    LoadJit {
        /// Its number from now on.
        process: u64,
    },
    /// The functions at addresses of such a process.
    JitNames {
        /// Of a [`Request::LoadJit`].
        process: u64,
        /// As the process has them.
        addresses: Vec<u64>,
    },
    /// How to find the caller of the code at a file offset.
    Caller {
        /// Of a [`Request::Load`].
        module: u32,
        /// In its file; of a return address, that of the call.
        offset: u64,
        /// The code made a system call; else it called a function.
        is_leaf: bool,
    },
    /// Where the module keeps CPython's runtime.
    Python {
        /// Of a [`Request::Load`].
        module: u32,
    },
}

/// An offset in a module's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// In bytes from the beginning of the file.
    pub offset: u64,
    /// The code before it made a call; it, not what comes next, is to be named.
    pub is_return_address: bool,
}

impl Place {
    /// The offset of the code that is to be named.
    pub fn looked_up(&self) -> u64 {
        self.offset.saturating_sub(self.is_return_address.into())
    }
}

/// What the helper answers. It may have been taken over by what it has read: nothing here is to be believed unchecked.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Sent once, unasked: the helper is confined and ready.
    Ready {
        /// The user it runs as.
        uid: u32,
        /// Landlock is in force.
        landlock: bool,
    },
    /// The file was taken.
    Loaded {
        /// Hexadecimal.
        build_id: Option<String>,
        /// It has no line numbers of its own: they may be in another file.
        wants_debug: bool,
        /// The name of that file, where the module says so (`.gnu_debuglink`).
        debug_link: Option<String>,
    },
    /// The module was forgotten.
    Unloaded,
    /// The map was taken; the processes whose maps are kept now.
    Maps(Vec<u64>),
    /// For every place its functions, innermost first. Empty where nothing is known.
    Names(Vec<Vec<Name>>),
    /// How to find the caller.
    Caller(Rule),
    /// None where it is no CPython.
    Python(Option<Runtime>),
    /// It could not be done; why.
    Refused(String),
}

/// A function at a place, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// Readable, without what its linker made of it.
    pub function: Option<Arc<str>>,
    /// The source file, as the compiler wrote it down.
    pub file: Option<Arc<str>>,
    /// From 1 on.
    pub line: Option<u32>,
}

/// The message as it goes over the socket.
pub fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    if length > MESSAGE_MAX {
        return Err(too_long());
    }
    bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(bytes)
}

/// Reads one message. `UnexpectedEof` when the other side is gone.
pub fn receive<T: DeserializeOwned>(mut from: impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MESSAGE_MAX {
        return Err(too_long());
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "message too long")
}

/// Sends what it can of `bytes`, and with them a descriptor. Returns how many bytes went.
pub fn send_with_fd(
    socket: impl AsFd,
    bytes: &[u8],
    fd: Option<BorrowedFd<'_>>,
    flags: SendFlags,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let bytes = [io::IoSlice::new(bytes)];
    Ok(sendmsg(socket, &bytes, &mut control, flags)?)
}

/// Reads from a socket, and keeps the last descriptor that came along.
pub struct FdReader<S> {
    /// What is read from.
    pub socket: S,
    /// The descriptor that came last.
    pub fd: Option<OwnedFd>,
}

impl<S: AsFd> Read for FdReader<S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [io::IoSliceMut::new(into)];
        let received = loop {
            match recvmsg(&self.socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(mut fds) = message {
                self.fd = fds.next_back().or(self.fd.take());
            }
        }
        Ok(received.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_as_it_was_sent() {
        let names = Answer::Names(vec![vec![Name { function: Some("main".into()), ..Name::default() }]]);
        let bytes = encode(&names).unwrap();
        let Answer::Names(back) = receive(bytes.as_slice()).unwrap() else { panic!("another answer") };
        assert_eq!(back[0][0].function.as_deref(), Some("main"));
    }

    #[test]
    fn a_message_that_is_too_long_cut_off_or_nonsense_is_an_error() {
        let too_long = (MESSAGE_MAX as u32 + 1).to_le_bytes();
        for bytes in [&too_long[..], b"", b"\x02\0", b"\x02\0\0\0{", b"\x02\0\0\0{}", b"\x01\0\0\0\xff"] {
            assert!(receive::<Answer>(bytes).is_err(), "{bytes:?}");
        }
        assert!(encode(&Answer::Refused("x".repeat(MESSAGE_MAX))).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
            let _ = receive::<Answer>(bytes.as_slice());
            let _ = receive::<Request>(bytes.as_slice());
        }
    }
}
