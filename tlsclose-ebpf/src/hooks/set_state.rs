//! Every TCP state transition.
//!
//! The transitions that a FIN drives (1→8, 4→5, 9→7, 2→1) run in softirq, or in process context
//! out of the socket's backlog: the current task is nobody in particular. Those that close(),
//! shutdown() and connect() cause have their caller as current task.

use core::ffi::c_void;

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tlsclose_common::{
    facts::{abort, half, state},
    limits::STATES,
};

use crate::{
    kernel::{Hold, Tcp},
    maps::{Slots, TRANSITIONS},
    sockets::{aborts, half_closed, last_close, listeners, openings, stream},
    tls::{self, closed},
};

/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`, since 4.16.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn set_state(ctx: BtfTracePointContext) -> i32 {
    let (sk, old, new): (*const c_void, i32, i32) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    if let Some(sk) = Tcp::new(sk) {
        count(old, new);
        stream::transition(sk, old as u8, new as u8);
        if tls::transition(sk, old as u8, new as u8) {
            closed::sample(closed::AT_TRANSITION);
        }
        transition(sk, old as u8, new as u8);
    }
    0
}

#[inline(always)]
fn count(old: i32, new: i32) {
    let slot = (old as u32 & 15) * STATES as u32 + (new as u32 & 15);
    if let Some(count) = TRANSITIONS.slot_mut(slot) {
        *count += 1;
    }
}

#[inline(always)]
fn transition(sk: Tcp, old: u8, new: u8) {
    match new {
        state::SYN_SENT => openings::connecting(sk),
        state::LISTEN => listeners::listening(sk),
        state::CLOSE_WAIT => half_closed::entered(sk, new, half::WAS_CONNECTED, abort::NONE),
        state::FIN_WAIT1 | state::LAST_ACK => match sk.hold() {
            // Not inside the last close(), so it is shutdown(); unless the peer's ACK or a
            // listener's death moved it, which nobody's stack explains.
            Hold::File if sk.owned() && old != new => half_closed::shut_down(sk, new),
            Hold::File => {}
            hold => {
                closed_by_program(sk, hold);
                half_closed::left_if_tracked(sk, old);
            }
        },
        state::FIN_WAIT2 | state::CLOSING => match sk.hold() {
            Hold::File => half_closed::entered(sk, new, half::WAS_CONNECTED, abort::NONE),
            // Closed after shutdown(): the same-state event 5→5.
            hold if old == new => {
                closed_by_program(sk, hold);
                half_closed::left(sk);
            }
            _ => {}
        },
        state::CLOSE => closed(sk, old),
        _ => {}
    }
}

/// The connection is over; the socket stays if a file holds it.
#[inline(always)]
fn closed(sk: Tcp, old: u8) {
    let hold = sk.hold();
    // A last close() that waits for the socket on another CPU finds it dead, and gets the blame as any later one.
    let is_held = hold == Hold::File || hold == Hold::Closing && !sk.owned();
    match (is_held, old) {
        (true, state::SYN_SENT) => half_closed::entered(sk, state::CLOSE, half::CONNECT_FAILED, abort::NONE),
        (_, state::LISTEN) => listeners::ended(sk),
        (true, state::CLOSE) => {}
        (true, _) => {
            let is_end = matches!(old, state::FIN_WAIT2 | state::CLOSING | state::LAST_ACK) && sk.error() == 0;
            let flags = if is_end { half::WAS_CONNECTED | half::BOTH_ENDED } else { half::WAS_CONNECTED };
            half_closed::entered(sk, state::CLOSE, flags, aborts::cause(sk));
        }
        // A child in the accept queue: its end is `tcp_destroy_sock`.
        (false, state::CLOSE_WAIT) if hold == Hold::NoSocket => {}
        // What is known of it goes with `tcp_destroy_sock`: at once, but for sockets of the kernel's own.
        (false, _) => closed_by_program(sk, hold),
    }
}

/// A FIN or RST may arrive, in softirq, while the last close() is on its way.
#[inline(always)]
fn closed_by_program(sk: Tcp, hold: Hold) {
    if hold == Hold::Closing && sk.owned() {
        last_close::closing(sk);
    }
}
