//! Record headers in the memory that a system call sends or reads into.
//!
//! The walk from header to header stays in a map: the function that the verifier looks at once
//! takes nothing but numbers. Each direction has a slot of its own on each CPU, because each has a
//! program of its own, which the kernel does not run twice at once on one CPU.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{helpers::generated::bpf_probe_read_user, macros::map, maps::PerCpuArray};
use tlsclose_common::{
    facts::{Lost, call},
    limits::{TLS_BATCH_PIECES, TLS_STEPS},
    tls::{
        Direction, HEADER,
        content_type::{ALERT, HANDSHAKE},
    },
};

use crate::{
    kernel::{
        Task,
        arch::{SYSTEM_CALLS, SystemCall},
        current_thread, global, reads_by_address,
    },
    maps::{Slots, lost},
};

const IOVEC: u64 = 16;
/// Size of `struct mmsghdr`, which begins with a `struct user_msghdr` (include/linux/socket.h).
const MMSGHDR: u64 = 64;
/// Where `msg_iov` and `msg_iovlen` are in a `struct user_msghdr`.
const MSG_IOV: u64 = 16;
/// Where `msg_control` and `msg_controllen` are.
const MSG_CONTROL: u64 = 32;

/// Where the data of the current system call is in user memory.
#[derive(Clone, Copy)]
pub struct Source {
    /// The current piece of memory.
    at: u64,
    /// Pieces that follow it are described here.
    iovec: u64,
    left: u32,
    pieces: u32,
    /// Message of a sendmmsg() call that comes after this one; 0 if none does.
    pub next_message: u8,
}

impl Source {
    /// None for system calls that move no user memory, or not in a way that is known here. Where
    /// the call is sendmmsg(), it is about its `message`, counted from 0.
    #[inline(always)]
    pub fn of_current(bytes: u32, which: u8, message: u8) -> Option<Self> {
        let task = Task::current();
        if !reads_by_address() || task.without_user_stack() {
            return None;
        }
        let call = SystemCall::of(task.as_ptr());
        let number = call.number();
        let (plain, with_flags) = plain_calls(which);
        let (vector, message_call) = if which == call::READ {
            (global!(SYSTEM_CALLS.readv), global!(SYSTEM_CALLS.recvmsg))
        } else {
            (global!(SYSTEM_CALLS.writev), global!(SYSTEM_CALLS.sendmsg))
        };
        let second = call.argument(1);
        if number == plain || number == with_flags {
            return Some(Self { at: second, left: bytes, pieces: 0, iovec: 0, next_message: 0 });
        }
        if number == vector {
            return Some(Self::vector(second, call.argument(2)));
        }
        if number == message_call {
            let (iovec, pieces) = user_pair(second + MSG_IOV)?;
            return Some(Self::vector(iovec, pieces));
        }
        if which == call::SEND && number == global!(SYSTEM_CALLS.sendmmsg) {
            let (iovec, pieces) = user_pair(second + message as u64 * MMSGHDR + MSG_IOV)?;
            let is_last = message as u32 + 1 >= call.argument(2) as u32;
            // The call ends with a message that is not sent as a whole.
            let ends = is_last || length_of(iovec, pieces)? > bytes as u64;
            let next_message = if ends { 0 } else { message.checked_add(1)? };
            return Some(Self { next_message, ..Self::vector(iovec, pieces) });
        }
        None
    }

    #[inline(always)]
    fn vector(iovec: u64, pieces: u64) -> Self {
        Self { at: 0, left: 0, pieces: pieces as u32, iovec, next_message: 0 }
    }

    /// Goes on to the next piece of memory.
    #[inline(always)]
    fn next(&mut self, at_most: u32) -> Option<()> {
        if self.pieces == 0 {
            return None;
        }
        let (at, length) = user_pair(self.iovec)?;
        self.pieces -= 1;
        self.iovec += IOVEC;
        self.at = at;
        self.left = if length > at_most as u64 { at_most } else { length as u32 };
        Some(())
    }

    /// The first five bytes, when they are in one piece.
    #[inline(always)]
    pub fn first_header(&mut self, bytes: u32) -> Option<[u8; 5]> {
        if self.left == 0 {
            self.next(bytes)?;
        }
        if self.left < HEADER {
            return None;
        }
        header_at(self.at)
    }

    /// The first five bytes of a call that moves one piece of memory and no more.
    #[inline(always)]
    pub fn plain_header(bytes: u32, which: u8) -> Option<[u8; 5]> {
        let task = Task::current();
        if !reads_by_address() || bytes < HEADER || task.without_user_stack() {
            return None;
        }
        let call = SystemCall::of(task.as_ptr());
        let number = call.number();
        let (plain, with_flags) = plain_calls(which);
        if number != plain && number != with_flags {
            return None;
        }
        header_at(call.argument(1))
    }

    /// Leaves out bytes of the current piece.
    #[inline(always)]
    pub fn advance(&mut self, length: u32) {
        self.at += length as u64;
        self.left -= length;
    }
}

/// System calls that move one piece of memory: their second argument.
#[inline(always)]
fn plain_calls(which: u8) -> (u32, u32) {
    if which == call::READ {
        (global!(SYSTEM_CALLS.read), global!(SYSTEM_CALLS.recvfrom))
    } else {
        (global!(SYSTEM_CALLS.write), global!(SYSTEM_CALLS.sendto))
    }
}

#[inline(always)]
fn header_at(at: u64) -> Option<[u8; 5]> {
    let mut header = MaybeUninit::<[u8; 5]>::uninit();
    // SAFETY: the helper checks the address, and fills the header or fails.
    unsafe {
        let read = bpf_probe_read_user(header.as_mut_ptr().cast(), HEADER, at as *const c_void);
        (read == 0).then(|| header.assume_init())
    }
}

/// What kernel TLS says of the record that the current sendmsg() or recvmsg() moved: its type. None where the call has no
/// room for that (KERNEL: Documentation/networking/tls.rst).
#[inline(always)]
pub fn type_by_kernel(which: u8) -> Option<u8> {
    /// `cmsg_len` of a message of one byte (include/linux/socket.h).
    const LENGTH: u64 = 17;
    const SOL_TLS: u64 = 282;
    const TLS_SET_RECORD_TYPE: u64 = 1;
    const TLS_GET_RECORD_TYPE: u64 = 2;
    if !reads_by_address() {
        return None;
    }
    let call = SystemCall::of(Task::current().as_ptr());
    let (number, kind) = if which == call::READ {
        (global!(SYSTEM_CALLS.recvmsg), TLS_GET_RECORD_TYPE)
    } else {
        (global!(SYSTEM_CALLS.sendmsg), TLS_SET_RECORD_TYPE)
    };
    if call.number() != number {
        return None;
    }
    let (control, room) = user_pair(call.argument(1) + MSG_CONTROL)?;
    if room < LENGTH {
        return None;
    }
    let (length, level_and_kind) = user_pair(control)?;
    let mut record = 0u8;
    // SAFETY: one byte; the helper checks the address.
    let read = unsafe { bpf_probe_read_user((&raw mut record).cast(), 1, (control + IOVEC) as *const c_void) };
    let is_its = length >= LENGTH && level_and_kind == SOL_TLS | kind << 32 && read == 0;
    if !is_its {
        return None;
    }
    // An alert of any other kind says no goodbye, and carries no data: as little as a handshake does.
    Some(if record == ALERT && !is_close_notify(call)? { HANDSHAKE } else { record })
}

/// Whether the alert of the current sendmsg() or recvmsg() says goodbye: its two bytes are in clear there (RFC 8446,
/// section 6: level and description).
#[inline(always)]
fn is_close_notify(call: SystemCall) -> Option<bool> {
    const CLOSE_NOTIFY: u8 = 0;
    let (iovec, _) = user_pair(call.argument(1) + MSG_IOV)?;
    let (alert, _) = user_pair(iovec)?;
    let mut description = CLOSE_NOTIFY;
    // SAFETY: one byte; the helper checks the address.
    let read = unsafe { bpf_probe_read_user((&raw mut description).cast(), 1, (alert + 1) as *const c_void) };
    (read == 0).then_some(description == CLOSE_NOTIFY)
}

/// Bytes of all pieces; None where there are more than are looked at.
#[inline(always)]
fn length_of(iovec: u64, pieces: u64) -> Option<u64> {
    if pieces > TLS_BATCH_PIECES {
        return None;
    }
    let mut length = 0;
    for i in 0..TLS_BATCH_PIECES {
        if i >= pieces {
            break;
        }
        length += user_pair(iovec + i * IOVEC)?.1;
    }
    Some(length)
}

#[inline(always)]
fn user_pair(at: u64) -> Option<(u64, u64)> {
    // Not zeroed: that would be a loop, which the verifier walks through again and again.
    let mut pair = MaybeUninit::<[u64; 2]>::uninit();
    // SAFETY: the helper checks the address, and fills the pair or fails.
    unsafe {
        let read = bpf_probe_read_user(pair.as_mut_ptr().cast(), IOVEC as u32, at as *const c_void);
        (read == 0).then(|| {
            let [first, second] = pair.assume_init();
            (first, second)
        })
    }
}

/// How far the walks along the records of a read (0) and of a send (1) are.
#[map]
static TLS_WALK: PerCpuArray<Walk> = PerCpuArray::with_max_entries(2, 0);

/// A walk from one record header to the next.
#[derive(Clone, Copy)]
pub struct Walk {
    direction: Direction,
    /// Bytes of the call still to be followed.
    total: u32,
    source: Source,
    /// Thread whose walk this is.
    owner: u64,
}

/// What [`walk_on`] came to.
mod walked {
    pub const ON: u64 = 0;
    pub const END: u64 = 1;
}

/// Follows `bytes` bytes from one record header to the next.
#[inline(always)]
pub fn follow(which: u8, direction: &mut Direction, source: Source, bytes: u32) {
    let slot = (which == call::SEND) as u32;
    let Some(walk) = TLS_WALK.slot_mut(slot) else { return direction.lose() };
    let owner = current_thread();
    *walk = Walk { direction: *direction, total: bytes, source, owner };
    for _ in 0..TLS_STEPS {
        if walk_on(slot, owner) != walked::ON {
            break;
        }
    }
    if walk.owner != owner {
        // Kernels before 5.12 may run a program twice at once, when a thread is preempted in it.
        return direction.lose();
    }
    *direction = walk.direction;
    if walk.total != 0 && !direction.is_lost() {
        lost(Lost::TlsRecords);
        direction.lose();
    }
}

/// One step of the walk in this slot: to the next piece of memory, or to the end of the next record.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_on(slot: u32, owner: u64) -> u64 {
    let Some(walk) = TLS_WALK.slot_mut(slot) else { return walked::END };
    if !reads_by_address() || walk.owner != owner || walk.total == 0 {
        return walked::END;
    }
    if walk.source.left == 0 {
        if walk.source.next(walk.total).is_some() {
            return walked::ON;
        }
        walk.direction.lose();
        return walked::END;
    }
    if walk.direction.body() == 0 && !header(walk) {
        walk.direction.lose();
        return walked::END;
    }
    let (body, left) = (walk.direction.body(), walk.source.left);
    let length = if body < left { body } else { left };
    walk.direction.skip(length);
    walk.advance(length);
    if walk.total == 0 { walked::END } else { walked::ON }
}

/// Reads what is there of the header that comes next. False where there is none.
#[inline(always)]
fn header(walk: &mut Walk) -> bool {
    let (wants, left) = (walk.direction.wants(), walk.source.left);
    let length = if wants < left { wants } else { left };
    // At most five. The compiler knows that and would drop the mask, the verifier does not.
    let length = core::hint::black_box(length) & 7;
    let mut bytes = 0u64;
    // SAFETY: at most seven bytes; the helper checks the address.
    let read = unsafe { bpf_probe_read_user((&raw mut bytes).cast(), length, walk.source.at as *const c_void) };
    if read != 0 {
        return false;
    }
    walk.direction.header(bytes.to_ne_bytes(), length);
    walk.advance(length);
    !walk.direction.is_lost()
}

impl Walk {
    #[inline(always)]
    fn advance(&mut self, length: u32) {
        self.source.advance(length);
        self.total -= length;
    }
}
