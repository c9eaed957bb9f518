//! How sockets come into a program's hands: connect, accept, and adoption at the first read or
//! send for what the accept hooks cannot see. Only sampled openings are kept.

use aya_ebpf::{EbpfContext, macros::tracepoint, programs::TracePointContext};
use tlsclose_common::facts::{Lost, Origin, call};

use crate::{
    kernel::{Task, Tcp, now_ns},
    maps::{EMFILE, ORIGIN, Values, lost},
    sockets::{listeners, origin, stream},
    stacks::{budget, stack},
};

const EMFILE_ERRNO: i64 = -24;
const ENFILE_ERRNO: i64 = -23;

/// connect() moves CLOSE → SYN_SENT in process context, under the caller.
#[inline(always)]
pub fn connecting(sk: Tcp) {
    if !sk.owned() {
        return;
    }
    let tgid = stack::current_tgid();
    if budget::allows(tgid) {
        let opened = stack::take(tgid);
        keep(sk.address(), sk.peer(), tgid, opened, call::CONNECT);
    } else if stream::is_on() {
        keep(sk.address(), sk.peer(), tgid, 0, call::CONNECT);
    }
}

/// `syscalls/sys_exit_accept`: `long ret` at offset 16.
#[tracepoint(category = "syscalls", name = "sys_exit_accept")]
pub fn exit_accept(ctx: TracePointContext) -> i32 {
    accepted(result(&ctx), call::ACCEPT);
    0
}

/// `syscalls/sys_exit_accept4`: `long ret` at offset 16.
#[tracepoint(category = "syscalls", name = "sys_exit_accept4")]
pub fn exit_accept4(ctx: TracePointContext) -> i32 {
    accepted(result(&ctx), call::ACCEPT4);
    0
}

/// `syscalls/sys_exit_socket`: `long ret` at offset 16. Only a failure for want of a descriptor is
/// of interest.
#[tracepoint(category = "syscalls", name = "sys_exit_socket")]
pub fn exit_socket(ctx: TracePointContext) -> i32 {
    made(result(&ctx));
    0
}

#[inline(always)]
fn result(ctx: &TracePointContext) -> i64 {
    // SAFETY: the tracepoint's record holds the result at this offset (its `format` file).
    unsafe { *ctx.as_ptr().byte_add(16).cast::<i64>() }
}

/// socket() returned `result`.
#[inline(always)]
pub fn made(result: i64) {
    if result == EMFILE_ERRNO || result == ENFILE_ERRNO {
        out_of_descriptors(stack::current_tgid());
    }
}

/// accept() or accept4() returned `result`.
#[inline(always)]
pub fn accepted(result: i64, which: u8) {
    if result < 0 {
        made(result);
        return;
    }
    let tgid = stack::current_tgid();
    let sampled = budget::allows(tgid);
    if !sampled && !stream::is_on() {
        return;
    }
    let Some(sk) = Task::current().socket_at(result as u32) else { return };
    let peer = sk.peer();
    let opened = if sampled { stack::take(tgid) } else { 0 };
    keep(sk.0, peer, tgid, opened, which);
    if opened != 0 {
        listeners::accepted(Task::current(), tgid, opened, which);
    }
}

/// The first read or send on a socket whose process uses io_uring, where no accept hook runs.
#[inline(always)]
pub fn adopt(sk: Tcp, which: u8) {
    if origin::origin(sk).is_some() {
        return;
    }
    let tgid = stack::current_tgid();
    if budget::allows(tgid) {
        let opened = stack::take(tgid);
        if opened != 0 {
            keep(sk.address(), sk.peer(), tgid, opened, which);
        }
    }
}

#[inline(always)]
fn keep(sk: u64, peer: u32, tgid: u32, opened: u64, which: u8) {
    let origin = Origin {
        opened_at: now_ns(),
        opened,
        touched: 0,
        touched_at: 0,
        tgid,
        peer,
        opened_call: which,
        touched_call: call::NONE,
        pad: [0; 2],
        touched_result: 0,
    };
    if ORIGIN.insert(sk, origin, 0).is_err() {
        lost(Lost::OriginsMapFull);
    }
}

#[inline(always)]
fn out_of_descriptors(tgid: u32) {
    if let Some(count) = EMFILE.value_mut(tgid) {
        *count += 1;
    } else if EMFILE.insert(tgid, 1, 0).is_err() {
        lost(Lost::ProcessesMapFull);
    }
}
