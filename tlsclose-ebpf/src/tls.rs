//! TLS, by the record headers that pass a socket: whatever library, however linked, writes them.
//!
//! Five bytes of each record are read out of the system call's buffer, and of these only the type
//! and the length are kept. While they are young, sockets that are not TLS pay a look at the first
//! five bytes, and a failed look-up where there is TLS. What goes another way than through a plain
//! read or send (io_uring, sendfile, splice) shows in TCP's sequence numbers: then nothing is said
//! about that direction. So does kernel TLS, which says in control messages what an alert is.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use tlsclose_common::{
    facts::{Lost, TlsSeen, TlsSocket, call, record, state, tls_now},
    limits::{TLS_PROBATION_BYTES, TLS_QUIET_CALLS, TLS_SEEN_STEP_NS},
    tls::{Direction, HEADER, mark},
};

use crate::{
    goodbye,
    kernel::{Hold, Sequences, Task, Tcp},
    maps::{STACK_RING, TLS_SEEN, TLS_SOCKETS, lost},
    records::{self, Source},
    stack,
};

const MSG_TRUNC: i32 = 0x20;
const MSG_ERRQUEUE: i32 = 0x2000;
const SEND_SHUTDOWN: u8 = 2;
const RCV_SHUTDOWN: u8 = 1;

/// The program read `bytes` bytes.
#[inline(always)]
pub fn read(sk: Tcp, bytes: i32, flags: i32) {
    if flags & MSG_ERRQUEUE == 0 {
        // Bytes that are thrown away are in no buffer.
        moved(sk, bytes as u32, call::READ, flags & MSG_TRUNC == 0);
    }
}

/// The program sent `bytes` bytes.
#[inline(always)]
pub fn sent(sk: Tcp, bytes: i32) {
    moved(sk, bytes as u32, call::SEND, true);
}

#[inline(always)]
fn moved(sk: Tcp, bytes: u32, which: u8, in_memory: bool) {
    if is_watched()
        && let Some(entry) = TLS_SOCKETS.get_ptr_mut(sk.address())
        && follow(sk, entry, bytes, which, in_memory)
    {
        return;
    }
    if in_memory && is_young(sk, bytes, which) {
        first_look(sk, bytes, which);
    }
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
    // SAFETY: a helper without arguments; as in `is_watched`, and whoever writes writes the time.
    let (now, before) = unsafe { (bpf_ktime_get_ns(), seen.read_volatile()) };
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

#[inline(always)]
fn is_young(sk: Tcp, bytes: u32, which: u8) -> bool {
    let Some(sequences) = sk.sequences() else { return false };
    let so_far = if which == call::READ { sequences.read_bytes() } else { sequences.written_bytes() };
    so_far < TLS_PROBATION_BYTES + bytes as u64
}

/// TCP's sequence number behind the last byte that the program has read or sent. It changes only
/// while the socket is read or sent to, and by one for a FIN.
#[inline(always)]
fn position(sequences: Sequences, which: u8) -> u32 {
    if which == call::READ { sequences.copied_seq() } else { sequences.write_seq() }
}

/// Looks whether a connection of which nothing is known begins with TLS here. Out of line, as all
/// that only TLS needs: what the caller's frame holds is missing to the walk of a stack.
#[inline(never)]
fn first_look(sk: Tcp, bytes: u32, which: u8) {
    let Some(mut source) = Source::of_current(bytes, which, 0) else { return };
    let begin = source;
    let Some(header) = source.first_header(bytes) else { return };
    if !Direction::begins(header) {
        return;
    }
    // A socket of the kernel's own: the system call is about something else, like a file on NFS.
    if sk.hold() != Hold::File {
        return;
    }
    let Some(sequences) = sk.sequences() else { return };
    if TLS_SOCKETS.insert(sk.address(), &NOTHING_SEEN, BPF_NOEXIST as u64).is_err() {
        lost(Lost::TlsSocketsFull);
        return;
    }
    let Some(entry) = TLS_SOCKETS.get_ptr_mut(sk.address()) else { return };
    // SAFETY: as in `follow`.
    let entry = unsafe { &mut *entry };
    entry.peer = sk.peer();
    entry.batch = begin.next_message;
    entry.batch_thread = stack::current_thread() as u32;
    let direction = if which == call::READ { &mut entry.remote } else { &mut entry.local };
    direction.position = position(sequences, which);
    records::follow(which, direction, begin, bytes);
    seen();
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
    comm: [0; 4],
};

/// Follows a connection that is known. False if the entry was of another one.
#[inline(never)]
fn follow(sk: Tcp, entry: *mut TlsSocket, bytes: u32, which: u8, in_memory: bool) -> bool {
    // SAFETY: not pre-allocated, freed after a grace period: valid until the program ends.
    let entry = unsafe { &mut *entry };
    let Some(sequences) = sk.sequences() else { return true };
    if entry.peer != sk.peer() {
        lost(Lost::SocketsStale);
        // Fails only when somebody else removed it first.
        let _ = TLS_SOCKETS.remove(sk.address());
        return false;
    }
    let thread = stack::current_thread();
    let tgid = (thread >> 32) as u32;
    if entry.tgid != tgid {
        entry.tgid = tgid;
        let task = Task::current();
        entry.started_at = task.started_at();
        entry.comm = task.comm();
    }
    let place = if which == call::READ { &raw mut entry.remote } else { &raw mut entry.local };
    // SAFETY: a field of the entry. Whoever reads or sends at the same time changes the other one.
    let mut direction = unsafe { *place };
    if direction.is_lost() {
        return true;
    }
    let message = if entry.batch_thread == thread as u32 { entry.batch } else { 0 };
    let next_message = take_in(sk, sequences, &mut direction, Call { which, bytes, message, in_memory });
    if which == call::SEND {
        entry.batch = next_message;
        entry.batch_thread = thread as u32;
    }
    if direction.carries_data() {
        entry.last_data = which;
    }
    if direction.says_goodbye() && is_late(sk, entry.ended_from, which) {
        direction.mark_late();
    }
    // SAFETY: as above.
    unsafe { *place = direction };
    true
}

/// What a system call moved.
struct Call {
    which: u8,
    bytes: u32,
    /// Of sendmmsg(), counted from 0.
    message: u8,
    in_memory: bool,
}

/// Follows one direction over a call; gives back the message of it that comes next, 0 if none does.
#[inline(always)]
fn take_in(sk: Tcp, sequences: Sequences, direction: &mut Direction, moved: Call) -> u8 {
    let Call { which, bytes, message, in_memory } = moved;
    let position = position(sequences, which);
    // Bytes that went another way, or while the kernel skipped this program. A read may take the FIN along.
    let mut skipped = position.wrapping_sub(bytes).wrapping_sub(direction.position);
    if skipped == 1 && which == call::READ && sk.shutdown() & RCV_SHUTDOWN != 0 {
        skipped = 0;
    }
    direction.position = position;
    if direction.is_quiet() {
        skipped = 0;
    } else if skipped <= direction.body() {
        // Where the next header is does not depend on what the body was.
        direction.skip(skipped);
        skipped = 0;
    }
    if direction.is_of_kernel() || (skipped != 0 && sequences.has_kernel_tls()) {
        match records::is_alert_of_kernel(which) {
            Some(is_alert) => direction.record_of_kernel(is_alert),
            // Calls that have no room for a type move nothing but data. What they read may be missing a header
            // for another reason, though, unless it is known that the kernel takes records apart here.
            None if which == call::SEND || direction.is_of_kernel() => direction.record_of_kernel(false),
            None => direction.lose(),
        }
        return 0;
    }
    if skipped != 0 || !in_memory {
        direction.lose();
        return 0;
    }
    let is_body = direction.body() >= bytes;
    let source = if is_body && which == call::READ { None } else { Source::of_current(bytes, which, message) };
    let next_message = source.as_ref().map_or(0, |source| source.next_message);
    match source {
        _ if is_body => direction.skip(bytes),
        Some(source) => follow_headers(which, direction, source, bytes),
        None => direction.lose(),
    }
    next_message
}

/// The record that just passed came after the other direction had ended.
#[inline(always)]
fn is_late(sk: Tcp, ended_from: u8, which: u8) -> bool {
    if which == call::SEND {
        return !matches!(sk.state(), state::ESTABLISHED | state::FIN_WAIT1 | state::FIN_WAIT2);
    }
    // A reset ends both directions; what is read then had come before.
    let was_reset = matches!(ended_from, state::ESTABLISHED | state::CLOSE_WAIT);
    sk.shutdown() & SEND_SHUTDOWN != 0 && !was_reset
}

#[inline(always)]
fn follow_headers(which: u8, direction: &mut Direction, begin: Source, bytes: u32) {
    let mut source = begin;
    let header = if direction.is_between_records() { source.first_header(bytes) } else { None };
    if direction.is_quiet() && !header.is_some_and(Direction::begins) {
        direction.quiet_calls += 1;
        if direction.quiet_calls >= TLS_QUIET_CALLS {
            direction.lose();
        }
        return;
    }
    let Some([kind, major, minor, high, low]) = header else {
        return records::follow(which, direction, begin, bytes);
    };
    // Most calls move one record, or its header: nothing to walk through.
    direction.header([kind, major, minor, high, low, 0, 0, 0], HEADER);
    let rest = bytes - HEADER;
    if direction.is_lost() || direction.body() >= rest {
        direction.skip(rest);
        return;
    }
    source.advance(HEADER);
    records::follow(which, direction, source, rest);
}

/// A send failed, and with it the call: what it was to send next will be sent by another one.
#[inline(always)]
pub fn failed_to_send(sk: Tcp) {
    if is_watched()
        && let Some(entry) = TLS_SOCKETS.get_ptr_mut(sk.address())
    {
        // SAFETY: as in `follow`.
        unsafe { (*entry).batch = 0 };
    }
}

/// A transition that may be the program's close(), or the end of a connection that is still held.
/// True if the stack of the close is wanted, see [`goodbye::sample`].
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
            return goodbye::closed(sk, entry, old, new == state::CLOSE, goodbye::AT_TRANSITION);
        }
        _ if new == state::CLOSE => {
            // SAFETY: as in `follow`.
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
    // SAFETY: as in `follow`.
    let before = unsafe { (*entry).ended_from };
    goodbye::closed(sk, entry, before, false, goodbye::WHEN_GONE)
}

/// How the goodbye stands on a socket, for the census: bits of [`tls_now`].
#[inline(always)]
pub fn standing(sk: Tcp) -> u8 {
    if !is_watched() {
        return 0;
    }
    let Some(entry) = TLS_SOCKETS.get_ptr(sk.address()) else { return 0 };
    // SAFETY: as in `follow`.
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
