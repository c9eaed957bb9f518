//! The socket is gone: drop its facts. For a socket already in CLOSE this is the only sign of
//! the program's close().

use core::ffi::c_void;

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tlsclose_common::facts::{abort, state};

use crate::{
    kernel::Tcp,
    maps::ORIGIN,
    sockets::{aborts, half_closed, last_close},
    tls::{self, closed},
};

/// `tcp_destroy_sock(struct sock *sk)`, since 4.16.
#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn destroy_sock(ctx: BtfTracePointContext) -> i32 {
    let sk: *const c_void = ctx.arg(0);
    if let Some(sk) = Tcp::new(sk) {
        if ORIGIN.get_ptr(sk.address()).is_some() {
            if half_closed::state_of(sk) == Some(state::CLOSE) {
                // No transition told of this close().
                last_close::closing(sk);
            }
            // Fails only when the entry was recycled meanwhile.
            let _ = ORIGIN.remove(sk.address());
        }
        let aborted = half_closed::left(sk);
        if aborted != abort::NONE {
            aborts::count(aborted, sk.owned());
        }
        if tls::gone(sk) {
            closed::sample(closed::WHEN_GONE);
        }
    }
    0
}
