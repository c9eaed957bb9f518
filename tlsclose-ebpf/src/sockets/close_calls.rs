//! Calls of close(): one may leave the socket open, because something else holds the file, or may
//! ask for a descriptor that is not open.
//!
//! Seen when the call begins, while the descriptor still leads to its file; what comes of it is
//! certain by then. A process that no recent census met with a TCP socket pays one failed look-up.

use aya_ebpf::{EbpfContext, macros::tracepoint, programs::TracePointContext};
use tlsclose_common::{
    facts::{BadCloses, Closer, Lost, call, close_call},
    limits::{CENSUSES_REMEMBERED, CLOSE_RANGE_WALK},
};

use crate::{
    census::current_file,
    kernel::{Stray, Task, now_ns, references_at, socket_of},
    maps::{BAD_CLOSES, CLOSE_CALLS, CLOSERS, CONTROL, SOCKET_PROCESSES, Slots, Values, lost},
    stacks::stack,
};

/// `flags` of close_range(): mark for closing at exec (include/uapi/linux/close_range.h).
const CLOSE_RANGE_CLOEXEC: u32 = 4;

/// `syscalls/sys_enter_close`: `unsigned int fd` at offset 16.
#[tracepoint(category = "syscalls", name = "sys_enter_close")]
pub fn enter_close(ctx: TracePointContext) -> i32 {
    close(argument(&ctx, 0) as u32);
    0
}

/// `syscalls/sys_enter_dup2`: `unsigned int oldfd` at offset 16, `newfd` at 24.
#[tracepoint(category = "syscalls", name = "sys_enter_dup2")]
pub fn enter_dup2(ctx: TracePointContext) -> i32 {
    replace(argument(&ctx, 0) as u32, argument(&ctx, 1) as u32);
    0
}

/// `syscalls/sys_enter_dup3`: `unsigned int oldfd` at offset 16, `newfd` at 24.
#[tracepoint(category = "syscalls", name = "sys_enter_dup3")]
pub fn enter_dup3(ctx: TracePointContext) -> i32 {
    replace(argument(&ctx, 0) as u32, argument(&ctx, 1) as u32);
    0
}

/// `syscalls/sys_enter_close_range`: `unsigned int fd` at offset 16, `max_fd` at 24, `flags` at 32.
#[tracepoint(category = "syscalls", name = "sys_enter_close_range")]
pub fn enter_close_range(ctx: TracePointContext) -> i32 {
    close_range(argument(&ctx, 0) as u32, argument(&ctx, 1) as u32, argument(&ctx, 2) as u32);
    0
}

/// close_range() begins.
#[inline(always)]
pub fn close_range(first: u32, last: u32, flags: u32) {
    let Some(tgid) = process_with_sockets() else { return };
    if flags & CLOSE_RANGE_CLOEXEC != 0 {
        return;
    }
    for i in 0..CLOSE_RANGE_WALK {
        let fd = first.wrapping_add(i);
        if fd > last || close_of_range(tgid, fd) == 0 {
            return;
        }
    }
    if last.wrapping_sub(first) >= CLOSE_RANGE_WALK {
        lost(Lost::CloseRange);
    }
}

/// 0 when the process can have no descriptor of this or a higher number. A function that the
/// verifier looks at once, and not for each descriptor.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn close_of_range(tgid: u32, fd: u32) -> u64 {
    let task = Task::current();
    if let Some(file) = task.file_at(fd) {
        close_file(tgid, fd, file, call::CLOSE);
    }
    (fd < task.descriptors()) as u64
}

/// dup2() or dup3() begins: it closes what `new` was.
#[inline(always)]
pub fn replace(old: u32, new: u32) {
    if old == new {
        return;
    }
    let Some(tgid) = process_with_sockets() else { return };
    let task = Task::current();
    // Without `old` the call fails, and closes nothing.
    if task.file_at(old).is_some()
        && let Some(file) = task.file_at(new)
    {
        close_file(tgid, new, file, call::DUP);
    }
}

#[inline(always)]
fn argument(ctx: &TracePointContext, index: usize) -> u64 {
    // SAFETY: the tracepoint's record holds its arguments at these offsets (its `format` file).
    unsafe { *ctx.as_ptr().byte_add(16 + 8 * index).cast::<u64>() }
}

/// The current process, if a recent census met it with a TCP socket.
#[inline(always)]
fn process_with_sockets() -> Option<u32> {
    let tgid = stack::current_tgid();
    let seen = *SOCKET_PROCESSES.value(tgid)?;
    let control = CONTROL.get(0)?;
    let is_recent = control.census.wrapping_sub(seen) <= CENSUSES_REMEMBERED;
    (is_recent && tgid != control.agent_tgid).then_some(tgid)
}

/// close() begins.
#[inline(always)]
pub fn close(fd: u32) {
    let Some(tgid) = process_with_sockets() else { return };
    match Task::current().file_at(fd) {
        Some(file) => close_file(tgid, fd, file, call::CLOSE),
        None => bad(tgid, fd),
    }
}

#[inline(always)]
fn close_file(tgid: u32, fd: u32, file: u64, which: u8) {
    let Some(sk) = socket_of(file) else { return };
    if references_at(file) > 1 + current_file::holds(file) {
        count(close_call::STILL_HELD);
        left_open(tgid, fd, sk, which);
        // Only now: below this function the stack's walk has not enough room (512 bytes for all).
        let stack = stack::sample(tgid);
        if let Some(closer) = CLOSERS.value_mut(sk.0) {
            closer.stack = stack;
        }
    } else {
        count(close_call::CLOSED);
    }
}

#[inline(always)]
fn count(result: u32) {
    if let Some(count) = CLOSE_CALLS.slot_mut(result) {
        *count += 1;
    }
}

#[inline(never)]
fn left_open(tgid: u32, fd: u32, sk: Stray, which: u8) {
    let task = Task::current();
    let closer = Closer {
        at: now_ns(),
        stack: 0,
        started_at: task.started_at(),
        tgid,
        fd,
        peer: sk.peer(),
        moved: sk.moved(),
        comm: task.comm(),
        local_port: sk.local_port(),
        call: which,
        pad: [0; 5],
    };
    if CLOSERS.insert(sk.0, closer, 0).is_err() {
        lost(Lost::OriginsMapFull);
    }
}

#[inline(always)]
fn bad(tgid: u32, fd: u32) {
    if !counted_bad(tgid, fd) {
        return;
    }
    let stack = stack::sample(tgid);
    if let Some(known) = BAD_CLOSES.value_mut(tgid) {
        known.stack = stack;
    }
}

/// True if the process still needs a stack.
#[inline(never)]
fn counted_bad(tgid: u32, fd: u32) -> bool {
    count(close_call::BAD_FD);
    let started_at = Task::current().started_at();
    if let Some(known) = BAD_CLOSES.value_mut(tgid) {
        if known.started_at == started_at {
            known.count += 1;
            known.fd = fd;
            return known.stack == 0;
        }
    }
    let first = BadCloses { count: 1, stack: 0, started_at, fd, pad: 0 };
    if BAD_CLOSES.insert(tgid, first, 0).is_err() {
        lost(Lost::ProcessesMapFull);
    }
    true
}
