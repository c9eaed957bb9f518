//! Facts that the kernel side keeps or sends.
//!
//! Times are `bpf_ktime_get_ns()`: nanoseconds of `CLOCK_MONOTONIC`.
//! Sequence numbers are TCP's (RFC 9293, section 3.4), modulo 2^32.

use bytemuck::{Pod, Zeroable};

mod aborts;
mod close_calls;
mod control;
mod python;
mod queue;
mod silence;
mod spins;
mod stack;
mod tls;

use core::mem::{offset_of, size_of};

pub use self::{aborts::*, close_calls::*, control::*, python::*, queue::*, silence::*, spins::*, stack::*, tls::*};
use crate::limits::{COPY_PAGES, PAGE, PYTHON_FRAMES, PYTHON_TABLE, PYTHON_TEXT, STACK_FRAMES};

/// TCP states as the kernel numbers them (include/net/tcp_states.h).
pub mod state {
    pub const ESTABLISHED: u8 = 1;
    pub const SYN_SENT: u8 = 2;
    pub const SYN_RECV: u8 = 3;
    pub const FIN_WAIT1: u8 = 4;
    pub const FIN_WAIT2: u8 = 5;
    pub const TIME_WAIT: u8 = 6;
    pub const CLOSE: u8 = 7;
    pub const CLOSE_WAIT: u8 = 8;
    pub const LAST_ACK: u8 = 9;
    pub const LISTEN: u8 = 10;
    pub const CLOSING: u8 = 11;
}

/// Name of a process, followed by NUL where it is shorter: `task_struct.comm` of its first thread
/// (include/linux/sched.h). In words, so that it is loaded at once.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Comm(pub [u32; 4]);

impl Comm {
    pub fn is_empty(self) -> bool {
        self.0[0].to_ne_bytes()[0] == 0
    }

    pub fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for (bytes, word) in bytes.chunks_exact_mut(4).zip(self.0) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}

/// The call during which a stack was taken.
pub mod call {
    pub const NONE: u8 = 0;
    pub const CONNECT: u8 = 1;
    pub const ACCEPT: u8 = 2;
    pub const ACCEPT4: u8 = 3;
    pub const READ: u8 = 4;
    pub const SEND: u8 = 5;
    pub const SHUTDOWN: u8 = 6;
    pub const CLOSE: u8 = 7;
    pub const LISTEN: u8 = 8;
    /// dup2() or dup3(), which close what they replace.
    pub const DUP: u8 = 9;
}

/// `ORIGIN`: who opened a socket, with which stack. Lossy: only sampled openings are in it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Origin {
    pub opened_at: u64,
    /// Key of the opening stack, 0 when none was taken.
    pub opened: u64,
    /// Key of the stack of the last read or send, taken for armed processes only; 0 when none.
    pub touched: u64,
    pub touched_at: u64,
    pub tgid: u32,
    /// Remote address and port, folded: tells a reused socket address.
    pub peer: u32,
    pub opened_call: u8,
    pub touched_call: u8,
    pub pad: [u8; 2],
    /// Result of the last touched call: bytes, or a negative errno.
    pub touched_result: i32,
}

/// `HALF_CLOSED`: since when, and what the program did about it. Exact: one entry for every
/// socket that is half-closed, or closed by its peer, while a file holds it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct HalfClosed {
    /// When the socket entered its present state.
    pub since: u64,
    // What every close() reads comes first: in the kernel's hash table, that is beside the key.
    pub peer: u32,
    pub state: u8,
    pub touched_call: u8,
    /// Bits of [`half`].
    pub flags: u8,
    /// What ended the connection in CLOSE: one of [`abort`].
    pub abort: u8,
    /// When a read first returned 0 after the peer's FIN; 0 if none did.
    pub eof_at: u64,
    /// Key of the stack of that read, or of the shutdown; 0 when none was taken.
    pub touched: u64,
    pub touched_at: u64,
    /// Reads that returned 0 after the FIN, modulo 2^32.
    pub eof_reads: u32,
    /// Process of `touched`.
    pub tgid: u32,
    /// Number of the census that last met it in a descriptor table or in an accept queue.
    pub census: u32,
    /// 1: it was written out as one that no descriptor table shows.
    pub shown: u32,
}

impl HalfClosed {
    /// Nothing known yet.
    pub const NEW: Self = Self {
        since: 0,
        eof_at: 0,
        touched: 0,
        touched_at: 0,
        peer: 0,
        eof_reads: 0,
        tgid: 0,
        state: 0,
        touched_call: call::NONE,
        flags: 0,
        abort: abort::NONE,
        census: 0,
        shown: 0,
    };
}

/// Bits of [`HalfClosed::flags`].
pub mod half {
    /// The connection had been established before it was closed.
    pub const WAS_CONNECTED: u8 = 1;
    /// A connect() that failed; the socket was never connected.
    pub const CONNECT_FAILED: u8 = 2;
    /// Both sides had sent their FIN, and each was acknowledged.
    pub const BOTH_ENDED: u8 = 4;
}

/// One descriptor of one process that refers to a TCP socket: a record of the census.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Holder {
    pub sk: u64,
    /// Start of the process (leader's `start_boottime`, ns of CLOCK_BOOTTIME).
    pub started_at: u64,
    /// Address of the `struct file`: several descriptors may share it.
    pub file: u64,
    pub origin: Origin,
    pub half: HalfClosed,
    pub tgid: u32,
    pub fd: u32,
    pub netns: u32,
    pub write_seq: u32,
    pub snd_una: u32,
    pub copied_seq: u32,
    pub rcv_nxt: u32,
    /// `tcp_jiffies32` of the last data sent and of the last segment received.
    pub lsndtime: u32,
    pub rcv_tstamp: u32,
    pub local: [u8; 16],
    pub remote: [u8; 16],
    pub local_port: u16,
    pub remote_port: u16,
    /// 2 (AF_INET) or 10 (AF_INET6); addresses of the former take the first four bytes.
    pub family: u8,
    pub state: u8,
    /// 1: receive side shut down, 2: send side (`sk_shutdown`).
    pub shutdown: u8,
    /// Bits of [`holder`].
    pub flags: u8,
    /// Bits of [`tls_now`].
    pub tls: u8,
    pub pad: [u8; 3],
}

/// Bits of [`Holder::flags`].
pub mod holder {
    /// `origin` is filled.
    pub const ORIGIN: u8 = 1;
    /// `half` is filled.
    pub const HALF: u8 = 2;
    /// A map entry for this address belonged to another socket and was ignored.
    pub const STALE: u8 = 4;
    /// A child in an accept queue: `tgid`, `fd` and `origin` are its listener's, and `file` is the
    /// address of the listener's socket.
    pub const QUEUED: u8 = 8;
    /// A listener with children in its accept queue: see [`super::AcceptQueue`].
    pub const QUEUE: u8 = 16;
    /// A close() of one of its descriptors left it open: see [`super::Closer`].
    pub const CLOSED: u8 = 32;
    /// Nobody has used the socket since that close(): it came after the read in `half`, or that was made by another
    /// process than `tgid`; or the end was not read, and nothing was sent or read after the close().
    pub const CLOSED_LAST: u8 = 64;
    /// No descriptor table shows who holds it. `tgid` is 0, or the process that called close().
    pub const UNHELD: u8 = 128;
}

/// Counters of one census, kept per CPU and reset by the agent before each one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct CensusCounts {
    /// TCP sockets held by files, by state; a file that several descriptors share counts once.
    pub sockets: [u64; 16],
    pub fds: u64,
    pub tasks: u64,
    /// `bpf_jiffies64()` and `bpf_ktime_get_ns()` when this CPU last looked at a file.
    pub jiffies: u64,
    pub now: u64,
    /// Address of the task looked at last: a change counts a task.
    pub last_task: u64,
    /// The task last noted in `SOCKET_PROCESSES`.
    pub noted_task: u64,
    /// Half-closed sockets that no descriptor table shows, and those of them that were written out.
    pub unheld: u64,
    pub unheld_shown: u64,
    /// Whose the descriptor table is that is being walked: one of [`table`].
    pub table: u64,
}

/// What [`CensusCounts::table`] says of a descriptor table.
pub mod table {
    /// This census meets it once.
    pub const OWN: u64 = 0;
    /// Several processes have it, or several threads whose first thread is gone.
    pub const COMMON: u64 = 1;
    /// Another thread of this process has shown it already.
    pub const SEEN: u64 = 2;
}

/// A descriptor table that is [`table::COMMON`]: who has shown it first, and in which census.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Table {
    /// Address of the task.
    pub task: u64,
    pub tgid: u32,
    pub census: u32,
}

/// How long sockets stayed in one state: counts by [`crate::limits::HALF_CLOSED_BUCKETS_MS`],
/// the last one without bound, and the sum in nanoseconds. Kept per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Durations {
    pub buckets: [u64; 11],
    pub sum: u64,
}

/// A process that has or had stacks with us ended, or runs another program now.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct ProcessEnd {
    /// [`record::PROCESS_END`].
    pub kind: u32,
    pub tgid: u32,
    pub started_at: u64,
    pub at: u64,
    /// 0: it exited. 1: it called exec.
    pub exec: u32,
    pub pad: u32,
}

/// One TCP state transition of the opt-in stream.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Transition {
    pub at: u64,
    pub sk: u64,
    /// Owner: the process that opened it, 0 when not known.
    pub tgid: u32,
    pub netns: u32,
    pub local: [u8; 16],
    pub remote: [u8; 16],
    pub local_port: u16,
    pub remote_port: u16,
    pub family: u8,
    pub old: u8,
    pub new: u8,
    pub pad: u8,
}

const _: () = {
    assert!(size_of::<Origin>() == 48);
    assert!(size_of::<HalfClosed>() == 56);
    assert!(size_of::<Closer>() == 64);
    assert!(size_of::<BadCloses>() == 32);
    assert!(offset_of!(Holder, origin) == 24);
    assert!(size_of::<Holder>() == 208);
    assert!(size_of::<StackHeader>() == 72);
    assert!(size_of::<StackFrames>() == 72 + 8 * STACK_FRAMES);
    assert!(size_of::<StackCopy<COPY_PAGES>>() == 72 + COPY_PAGES * PAGE);
    assert!(size_of::<Interpreter>() == 88);
    assert!(size_of::<PythonStack>() == 72 + 24 * PYTHON_FRAMES);
    assert!(size_of::<PythonText>() == 16 + PYTHON_TEXT);
    assert!(size_of::<PythonCode>() == 64 + 2 * PYTHON_TEXT + PYTHON_TABLE);
    assert!(size_of::<PythonStart>() == 24);
    assert!(size_of::<ProcessEnd>() == 32);
    assert!(size_of::<Transition>() == 64);
    assert!(size_of::<CensusCounts>() == 200);
    assert!(size_of::<LeafRule>() == 16);
    assert!(size_of::<EofSpin>() == 32);
    assert!(size_of::<Suspect>() == 32);
};
