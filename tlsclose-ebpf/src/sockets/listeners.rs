//! Listening sockets: where they were made, and where connections were last accepted from them.

use tlsclose_common::facts::{Lost, Origin, call};

use crate::{
    kernel::{Task, Tcp, arch::SystemCall, now_ns},
    maps::{LISTENERS, Values, lost},
    sockets::origin::NO_ORIGIN,
    stacks::stack,
};

/// listen() moves CLOSE → LISTEN in process context, under the caller.
#[inline(always)]
pub fn listening(sk: Tcp) {
    if !sk.owned() {
        return;
    }
    let tgid = stack::current_tgid();
    let opened = stack::sample(tgid);
    if opened != 0 {
        let opened_at = now_ns();
        keep(sk.address(), Origin { opened_at, opened, tgid, opened_call: call::LISTEN, ..NO_ORIGIN });
    }
}

/// The listener listens no more.
#[inline(always)]
pub fn ended(sk: Tcp) {
    // Fails only when nothing was kept of it.
    let _ = LISTENERS.remove(sk.address());
}

/// The current task accepted a connection: remember for the listener, the call's first argument, where.
#[inline(always)]
pub fn accepted(task: Task, tgid: u32, touched: u64, which: u8) {
    let Some(listener) = task.socket_at(SystemCall::of(task.as_ptr()).argument(0) as u32) else { return };
    let touched_at = now_ns();
    if let Some(known) = LISTENERS.value_mut(listener.0) {
        known.touched = touched;
        known.touched_at = touched_at;
        known.touched_call = which;
        return;
    }
    // It listened before these programs were there to see it.
    keep(listener.0, Origin { tgid, touched, touched_at, touched_call: which, ..NO_ORIGIN });
}

#[inline(always)]
fn keep(listener: u64, origin: Origin) {
    if LISTENERS.insert(listener, origin, 0).is_err() {
        lost(Lost::OriginsMapFull);
    }
}
