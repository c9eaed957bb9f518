//! The end of a TLS connection: what is known of both directions is counted for the process that
//! closes it. The agent decides what it means.

use aya_ebpf::bindings::BPF_NOEXIST;
use tlsclose_common::{
    facts::{Comm, Lost, TlsCloseKey, TlsCloses, TlsSocket, TlsStackKey, call, state, tls_close},
    tls::mark,
};

use crate::{
    kernel::{Sequences, Task, Tcp, jiffies},
    maps::{self, CONTROL, Slots, TLS_CLOSES, TLS_SAMPLE, TLS_SOCKETS, TLS_STACKS, Values, lost},
    sockets::last_close,
    stacks::{budget, stack},
};

/// Slots of `TLS_SAMPLE`.
pub const AT_TRANSITION: u32 = 0;
pub const WHEN_GONE: u32 = 1;

/// The last close() of a socket whose connection was in `state` before; it `resets` the
/// connection instead of ending it. In process context, unless the socket died as an orphan.
///
/// True if the stack of this close is wanted: then [`sample`] takes it, from the program's own
/// frame. Below this one would not be room enough (512 bytes for all).
#[inline(never)]
pub fn closed(sk: Tcp, entry: *const TlsSocket, before: u8, resets: bool, slot: u32) -> bool {
    // SAFETY: not pre-allocated, freed after a grace period: valid until the program ends.
    let entry = unsafe { *entry };
    // Fails only when somebody else removed it first.
    if TLS_SOCKETS.remove(sk.address()).is_err() {
        return false;
    }
    if entry.peer != sk.peer() {
        lost(Lost::SocketsStale);
        return false;
    }
    let Some(sequences) = sk.sequences() else { return false };
    let facts = facts(&entry, sequences, before, resets);
    if (tls_close::local_marks(facts) | tls_close::remote_marks(facts)) & mark::ESTABLISHED == 0 {
        // No session, no goodbye.
        return false;
    }
    count(sk, &entry, facts, slot)
}

#[inline(always)]
fn facts(entry: &TlsSocket, sequences: Sequences, before: u8, resets: bool) -> u32 {
    let (mut local, mut remote) = (entry.local, entry.remote);
    // Bytes that went another way. A FIN takes a number, too, and so does a SYN.
    let sent_unseen =
        if local.is_quiet() { sequences.written_bytes() } else { passed(sequences.write_seq(), local.position) };
    let read_unseen =
        if remote.is_quiet() { sequences.read_bytes() } else { passed(sequences.copied_seq(), remote.position) };
    if sent_unseen > 2 {
        local.lose();
    }
    if read_unseen > 2 {
        remote.lose();
    }
    let mut facts = tls_close::of_marks(local.marks(), remote.marks());
    let failed = entry.failed != 0 || matches!(entry.ended_from, state::ESTABLISHED | state::CLOSE_WAIT);
    let ended = entry.ended_from != 0 && !failed;
    let peer_fin = ended || matches!(before, state::CLOSE_WAIT | state::LAST_ACK | state::CLOSING);
    if peer_fin {
        facts |= tls_close::PEER_FIN;
    }
    if matches!(before, state::CLOSE_WAIT | state::LAST_ACK) {
        facts |= tls_close::PEER_FIRST;
    }
    if sequences.rcv_nxt().wrapping_sub(sequences.copied_seq()) > peer_fin as u32 {
        facts |= tls_close::UNREAD;
    }
    if resets {
        facts |= tls_close::RESET_BY_US;
    }
    if failed {
        facts |= tls_close::FAILED;
    }
    if entry.last_data == call::SEND && has_just_sent(sequences) {
        facts |= tls_close::SENT_LAST;
    }
    facts
}

/// Data went out within the second before.
#[inline(always)]
fn has_just_sent(sequences: Sequences) -> bool {
    let second = CONTROL.get(0).map_or(0, |control| control.ticks_per_second);
    let now = jiffies() as u32;
    second != 0 && now.wrapping_sub(sequences.lsndtime()) <= second
}

#[inline(always)]
fn passed(now: u32, then: u32) -> u64 {
    now.wrapping_sub(then) as u64
}

#[inline(always)]
fn count(sk: Tcp, entry: &TlsSocket, facts: u32, slot: u32) -> bool {
    let task = Task::current();
    let tgid = stack::current_tgid();
    if !sk.owned() || !last_close::is_by_program(task) {
        add(TlsCloseKey { started_at: entry.started_at, tgid: entry.tgid, facts }, entry.comm);
        return false;
    }
    let exiting = if task.is_exiting() { tls_close::BY_EXIT } else { 0 };
    let close = TlsCloseKey { started_at: task.started_at(), tgid, facts: facts | exiting };
    add(close, task.comm());
    if exiting != 0 || !budget::allows_close(tgid) {
        return false;
    }
    let Some(sample) = TLS_SAMPLE.slot_mut(slot) else { return false };
    *sample = TlsStackKey { close, stack: 0 };
    true
}

#[inline(always)]
fn add(close: TlsCloseKey, comm: Comm) {
    if let Some(closes) = TLS_CLOSES.get_ptr_mut(close) {
        one_more(closes, comm);
        return;
    }
    let first = TlsCloses { count: 1, comm };
    if TLS_CLOSES.insert(close, first, BPF_NOEXIST as u64).is_ok() {
        return;
    }
    // Another CPU was first, or the map is full.
    match TLS_CLOSES.get_ptr_mut(close) {
        Some(closes) => one_more(closes, comm),
        None => lost(Lost::TlsClosesFull),
    }
}

#[inline(always)]
fn one_more(closes: *mut TlsCloses, comm: Comm) {
    // SAFETY: this CPU's value of an entry that is freed after a grace period.
    unsafe {
        maps::one_more(&raw mut (*closes).count);
        (*closes).comm = comm;
    }
}

/// Takes the stack of the close that [`closed`] has just counted.
#[inline(never)]
pub fn sample(slot: u32) -> u32 {
    let Some(key) = TLS_SAMPLE.slot_mut(slot) else { return 0 };
    key.stack = stack::take(key.close.tgid);
    if key.stack == 0 {
        return 0;
    }
    if let Some(count) = TLS_STACKS.value_mut(&*key) {
        *count += 1;
    } else if TLS_STACKS.insert(&*key, 1, BPF_NOEXIST as u64).is_err() {
        lost(Lost::StacksBusy);
    }
    1
}
