//! Following a TLS connection over the calls that move its bytes, from record to record.
//!
//! Nearly every call moves one record, or the header of one, or of the body of one: these are
//! followed in place. What is left is out of line, and slower.

use tlsclose_common::{
    facts::{TlsSocket, call, state},
    limits::TLS_QUIET_CALLS,
    tls::{Direction, HEADER, content_type::APPLICATION_DATA},
};

use crate::{
    kernel::{RCV_SHUTDOWN, SEND_SHUTDOWN, Sequences, Task, Tcp, current_thread},
    stacks::stack,
    tls::record_walk::{self, Source},
};

/// TCP's sequence number behind the last byte that the program has read or sent. It changes only
/// while the socket is read or sent to, and by one for a FIN.
#[inline(always)]
fn position(sequences: Sequences, which: u8) -> u32 {
    if which == call::READ { sequences.copied_seq() } else { sequences.write_seq() }
}

/// A call has moved `bytes` bytes of a connection that is known; they are not `in_memory` where the
/// call threw them away.
#[inline(always)]
pub fn follow(sk: Tcp, sequences: Sequences, entry: *mut TlsSocket, bytes: u32, which: u8, in_memory: bool) {
    // SAFETY: as in `tls::known`.
    let known = unsafe { &mut *entry };
    let direction = if which == call::READ { &mut known.remote } else { &mut known.local };
    let position = position(sequences, which);
    let in_step = direction.is_in_records() && position.wrapping_sub(bytes) == direction.position && in_memory;
    if in_step && which == call::READ && direction.body() >= bytes {
        direction.skip(bytes);
    } else if !(in_step
        && direction.is_between_records()
        && Source::plain_header(bytes, which).is_some_and(|header| take_whole_record(direction, header, bytes)))
    {
        return follow_closely(sk, entry, bytes, which, in_memory);
    } else if which == call::SEND {
        known.batch = 0;
    }
    direction.position = position;
    moved(sk, entry, which);
}

/// Takes in `bytes` bytes that begin with this header, if they are one record or its begin. False, and
/// nothing is changed, where they are more.
#[inline(always)]
fn take_whole_record(direction: &mut Direction, header: [u8; 5], bytes: u32) -> bool {
    let [kind, major, minor, high, low] = header;
    let rest = bytes - HEADER;
    if rest > u16::from_be_bytes([high, low]) as u32 {
        return false;
    }
    direction.header([kind, major, minor, high, low, 0, 0, 0], HEADER);
    direction.skip(rest);
    true
}

/// What follows from where a direction stands now.
#[inline(always)]
fn moved(sk: Tcp, entry: *mut TlsSocket, which: u8) {
    // SAFETY: as in `tls::known`.
    let entry = unsafe { &mut *entry };
    let (direction, other) = match which {
        call::READ => (&mut entry.remote, &entry.local),
        _ => (&mut entry.local, &entry.remote),
    };
    if direction.says_goodbye() {
        if is_late(sk, entry.ended_from, which) {
            direction.mark_late();
        }
    } else if !direction.is_lost()
        && if which == call::READ { direction.carries_data() } else { direction.carries_data_for_sure(other) }
    {
        entry.last_data = which;
    }
    let tgid = stack::current_tgid();
    if entry.tgid != tgid {
        entry.tgid = tgid;
        let task = Task::current();
        entry.started_at = task.started_at();
        entry.comm = task.comm();
    }
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

/// [`follow`], whatever the call moved.
#[inline(never)]
fn follow_closely(sk: Tcp, entry: *mut TlsSocket, bytes: u32, which: u8, in_memory: bool) {
    let Some(sequences) = sk.sequences() else { return };
    // SAFETY: as in `tls::known`.
    let known = unsafe { &mut *entry };
    let thread = current_thread() as u32;
    let place = if which == call::READ { &raw mut known.remote } else { &raw mut known.local };
    // SAFETY: a field of the entry. Whoever reads or sends at the same time changes the other one.
    let mut direction = unsafe { *place };
    if !direction.is_lost() {
        let message = if known.batch_thread == thread { known.batch } else { 0 };
        let next_message = take_in(sk, sequences, &mut direction, Call { which, bytes, message, in_memory });
        if which == call::SEND {
            known.batch = next_message;
            known.batch_thread = thread;
        }
        // SAFETY: as above.
        unsafe { *place = direction };
    }
    moved(sk, entry, which);
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
        match record_walk::type_by_kernel(which) {
            Some(kind) => direction.record_of_kernel(kind),
            // Calls that have no room for a type move nothing but data. What they read may be missing a header
            // for another reason, though, unless it is known that the kernel takes records apart here.
            None if which == call::SEND || direction.is_of_kernel() => direction.record_of_kernel(APPLICATION_DATA),
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
    if !header.is_some_and(|header| take_whole_record(direction, header, bytes)) {
        record_walk::follow(which, direction, begin, bytes);
    }
}
