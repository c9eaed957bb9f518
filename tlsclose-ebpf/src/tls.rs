//! TLS, by the record headers that pass a socket: whatever library, however linked, writes them.
//!
//! Five bytes of each record are read out of the system call's buffer, and of these only the type
//! and the length are kept. While they are young, sockets that are not TLS pay a look at the first
//! five bytes, and a failed look-up where there is TLS. What goes another way than through a plain
//! read or send (io_uring, sendfile, splice) shows in TCP's sequence numbers: then nothing is said
//! about that direction. So does kernel TLS, which says in control messages what an alert is.

pub mod closed;
pub mod follow;
pub mod record_walk;

use aya_ebpf::bindings::BPF_NOEXIST;
use tlsclose_common::{
    facts::{Comm, Lost, TlsSeen, TlsSocket, call, record, state, tls_now},
    limits::TLS_SEEN_STEP_NS,
    tls::{Direction, mark},
};

use crate::{
    kernel::{Hold, Tcp, now_ns},
    maps::{STACK_RING, TLS_SEEN, TLS_SOCKETS, lost},
    tls::record_walk::Source,
};

/// What is known of the connection of this socket.
#[inline(always)]
pub fn known(sk: Tcp) -> Option<*mut TlsSocket> {
    if !is_watched() {
        return None;
    }
    let entry = TLS_SOCKETS.get_ptr_mut(sk.address())?;
    // SAFETY: not pre-allocated, freed after a grace period: valid until the program ends.
    if unsafe { (*entry).peer } == sk.peer() {
        return Some(entry);
    }
    lost(Lost::SocketsStale);
    // Fails only when somebody else removed it first.
    let _ = TLS_SOCKETS.remove(sk.address());
    None
}

/// There may be an entry in `TLS_SOCKETS`.
#[inline(always)]
fn is_watched() -> bool {
    // SAFETY: the only entry of an array, which is never unmapped.
    TLS_SEEN.get_ptr(0).is_some_and(|seen| unsafe { seen.read_volatile() } != 0)
}

/// TLS has been recognised: the agent attaches what it is followed by, and keeps it attached.
#[inline(always)]
fn seen() {
    let Some(seen) = TLS_SEEN.get_ptr_mut(0) else { return };
    let now = now_ns();
    // SAFETY: as in `is_watched`, and whoever writes writes the time.
    let before = unsafe { seen.read_volatile() };
    if now.wrapping_sub(before) < TLS_SEEN_STEP_NS {
        return;
    }
    // SAFETY: as above.
    unsafe { seen.write_volatile(now) };
    if before == 0 && STACK_RING.output::<TlsSeen>(&TlsSeen { kind: record::TLS_SEEN, pad: 0 }, 0).is_err() {
        // The agent looks at the time with every census, too.
        lost(Lost::EventsRingFull);
    }
}

/// Whether a connection of which nothing is known begins with TLS in this call. Then it is known
/// from now on.
#[inline(always)]
pub fn begins(sk: Tcp, bytes: u32, which: u8) -> bool {
    let Some(mut source) = Source::of_current(bytes, which, 0) else { return false };
    let Some(header) = source.first_header(bytes) else { return false };
    if !Direction::begins(header) {
        return false;
    }
    // A socket of the kernel's own: the system call is about something else, like a file on NFS.
    if sk.hold() != Hold::File {
        return false;
    }
    if TLS_SOCKETS.insert(sk.address(), &NOTHING_SEEN, BPF_NOEXIST as u64).is_err() {
        lost(Lost::TlsSocketsFull);
        return false;
    }
    let Some(entry) = TLS_SOCKETS.get_ptr_mut(sk.address()) else { return false };
    // SAFETY: as in `known`.
    unsafe {
        (*entry).peer = sk.peer();
        if which == call::READ {
            // The first hello is the client's.
            (*entry).local.serves();
        }
    }
    seen();
    true
}

/// What a connection's entry starts as; the process follows with the next call.
static NOTHING_SEEN: TlsSocket = TlsSocket {
    started_at: 0,
    local: Direction::NEW,
    remote: Direction::NEW,
    peer: 0,
    tgid: 0,
    ended_from: 0,
    failed: 0,
    batch: 0,
    last_data: 0,
    batch_thread: 0,
    comm: Comm([0; 4]),
};

/// A send failed, and with it the call: what it was to send next will be sent by another one.
#[inline(always)]
pub fn failed_to_send(sk: Tcp) {
    if is_watched()
        && let Some(entry) = TLS_SOCKETS.get_ptr_mut(sk.address())
    {
        // SAFETY: as in `known`.
        unsafe { (*entry).batch = 0 };
    }
}

/// A transition that may be the program's close(), or the end of a connection that is still held.
/// True if the stack of the close is wanted, see [`closed::sample`].
#[inline(always)]
pub fn transition(sk: Tcp, old: u8, new: u8) -> bool {
    match new {
        _ if !is_watched() => return false,
        state::FIN_WAIT1 | state::LAST_ACK | state::CLOSE => {}
        // Closed after shutdown().
        state::FIN_WAIT2 | state::CLOSING if old == new => {}
        _ => return false,
    }
    let Some(entry) = TLS_SOCKETS.get_ptr_mut(sk.address()) else { return false };
    match sk.hold() {
        Hold::Closing if sk.owned() => {
            return closed::closed(sk, entry, old, new == state::CLOSE, closed::AT_TRANSITION);
        }
        _ if new == state::CLOSE => {
            // SAFETY: as in `known`.
            let entry = unsafe { &mut *entry };
            entry.ended_from = old;
            entry.failed = (sk.error() != 0) as u8;
        }
        _ => {}
    }
    false
}

/// The socket is gone. If it was closed after its connection had ended, this is the only sign.
/// True as in [`transition`].
#[inline(always)]
pub fn gone(sk: Tcp) -> bool {
    if !is_watched() {
        return false;
    }
    let Some(entry) = TLS_SOCKETS.get_ptr_mut(sk.address()) else { return false };
    // SAFETY: as in `known`.
    let before = unsafe { (*entry).ended_from };
    closed::closed(sk, entry, before, false, closed::WHEN_GONE)
}

/// How the goodbye stands on a socket, for the census: bits of [`tls_now`].
#[inline(always)]
pub fn standing(sk: Tcp) -> u8 {
    if !is_watched() {
        return 0;
    }
    let Some(entry) = TLS_SOCKETS.get_ptr(sk.address()) else { return 0 };
    // SAFETY: as in `known`.
    let entry = unsafe { &*entry };
    let (local, remote) = (entry.local.marks(), entry.remote.marks());
    if entry.peer != sk.peer() || (local | remote) & mark::ESTABLISHED == 0 {
        return 0;
    }
    let mut standing = tls_now::IS_TLS;
    if local & mark::GOODBYE != 0 {
        standing |= tls_now::LOCAL_GOODBYE;
    }
    if local & (mark::LOST | mark::MAYBE) != 0 {
        standing |= tls_now::LOCAL_UNKNOWN;
    }
    if remote & mark::GOODBYE != 0 {
        standing |= tls_now::REMOTE_GOODBYE;
    }
    if remote & (mark::LOST | mark::MAYBE) != 0 {
        standing |= tls_now::REMOTE_UNKNOWN;
    }
    standing
}
