//! What is known of a close() that left a socket open, as the census tells it.

use tlsclose_common::facts::{Closer, Holder, holder};

/// Adds what is in `CLOSERS` to the record of a half-closed socket.
#[inline(always)]
pub fn add(record: &mut Holder, closer: &Closer, peer: u32) {
    if closer.peer != peer || closer.local_port != record.local_port {
        return;
    }
    record.flags |= holder::CLOSED;
    if record.flags & holder::UNHELD != 0 {
        record.tgid = closer.tgid;
        record.started_at = closer.started_at;
    }
    let is_last = if record.flags & holder::UNHELD != 0 {
        true
    } else if record.half.eof_at != 0 {
        closer.at > record.half.touched_at || record.half.tgid != record.tgid
    } else {
        record.write_seq.wrapping_add(record.copied_seq) == closer.moved
    };
    if is_last {
        record.flags |= holder::CLOSED_LAST;
    }
}
