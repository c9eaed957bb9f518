//! Facts that the kernel side keeps or sends.
//!
//! Times are `bpf_ktime_get_ns()`: nanoseconds of `CLOCK_MONOTONIC`.
//! Sequence numbers are TCP's (RFC 9293, section 3.4), modulo 2^32.

use core::mem::{offset_of, size_of};

use crate::limits::{STACK_COPY, STACK_FRAMES};

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
}

/// `ORIGIN`: who opened a socket, with which stack. Lossy: only sampled openings are in it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
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
#[derive(Clone, Copy, Debug, Default)]
pub struct HalfClosed {
    /// When the socket entered its present state.
    pub since: u64,
    /// When a read first returned 0 after the peer's FIN; 0 if none did.
    pub eof_at: u64,
    /// Key of the stack of that read, or of the shutdown; 0 when none was taken.
    pub touched: u64,
    pub touched_at: u64,
    pub peer: u32,
    /// Reads that returned 0 after the FIN.
    pub eof_reads: u32,
    /// Process of `touched`.
    pub tgid: u32,
    pub state: u8,
    pub touched_call: u8,
    /// Bits of [`half`].
    pub flags: u8,
    pub pad: u8,
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
        pad: 0,
    };
}

/// Bits of [`HalfClosed::flags`].
pub mod half {
    /// The connection had been established before it was closed.
    pub const WAS_CONNECTED: u8 = 1;
    /// A connect() that failed; the socket was never connected.
    pub const CONNECT_FAILED: u8 = 2;
}

/// One descriptor of one process that refers to a TCP socket: a record of the census.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
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
    pub pad: [u8; 4],
}

/// Bits of [`Holder::flags`].
pub mod holder {
    /// `origin` is filled.
    pub const ORIGIN: u8 = 1;
    /// `half` is filled.
    pub const HALF: u8 = 2;
    /// A map entry for this address belonged to another socket and was ignored.
    pub const STALE: u8 = 4;
}

/// Counters of one census, kept per CPU and reset by the agent before each one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
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
}

/// How long sockets stayed in one state: counts by [`crate::limits::HALF_CLOSED_BUCKETS_MS`],
/// the last one without bound, and the sum in nanoseconds. Kept per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Durations {
    pub buckets: [u64; 11],
    pub sum: u64,
}

/// Use of a stack budget in one window. Kept per CPU, and per process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    pub window: u64,
    pub used: u32,
    pub pad: u32,
}

/// What could not be kept, by reason.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// `HALF_CLOSED` was full.
    SocketsMapFull = 0,
    /// `ORIGIN` refused an entry.
    OriginsMapFull = 1,
    /// The stack budget of this window was used up.
    StacksBudget = 2,
    /// The ring buffer for stacks was full.
    StacksRingFull = 3,
    /// A stack was being taken on this CPU already.
    StacksBusy = 4,
    /// The agent has not yet said how to unwind this leaf.
    StacksLeafUnknown = 5,
    /// The stream's ring buffer was full.
    EventsRingFull = 6,
    /// An entry of another socket at the same address was dropped.
    SocketsStale = 7,
    /// A map of per-process state refused an entry.
    ProcessesMapFull = 8,
    /// The budget for copies of stack memory was used up.
    CopiesBudget = 9,
}

/// Slots of the `LOST` array.
pub const LOST_SLOTS: u32 = 16;

/// How to find the caller of a leaf function: one step of its call-frame information (CFI),
/// learned once for each place that makes system calls. Offsets are in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeafRule {
    /// One of [`leaf`].
    pub status: u32,
    /// Copies sent while the status was [`leaf::UNKNOWN`].
    pub copies: u32,
    /// Where the return address is.
    pub return_address: i32,
    /// Where the caller's frame pointer was saved; [`leaf::UNCHANGED`] when it still is in its register.
    pub frame_pointer: i32,
}

/// Values of [`LeafRule::status`].
pub mod leaf {
    /// Nothing known yet: copies of the stack are sent.
    pub const UNKNOWN: u32 = 0;
    /// Both offsets count from the stack pointer.
    pub const FROM_STACK_POINTER: u32 = 1;
    /// Both offsets count from the frame pointer.
    pub const FROM_FRAME_POINTER: u32 = 2;
    /// There is no rule (JIT code, no unwind tables): walk frame pointers from the registers as they are.
    pub const NONE: u32 = 3;
    /// Functions above this leaf keep no frame pointers: copies of the stack are sent for good.
    pub const COPY: u32 = 4;

    /// See [`super::LeafRule::frame_pointer`].
    pub const UNCHANGED: i32 = i32::MIN;
}

/// Key of `LEAVES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LeafKey {
    /// [`StackHeader::image`].
    pub image: u64,
    pub pc: u64,
}

/// What every stack record starts with.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct StackHeader {
    /// One of [`record`].
    pub kind: u32,
    pub tgid: u32,
    /// Key under which maps refer to this stack.
    pub key: u64,
    /// Tells this program in this process from any other: folded from PID, start time and exec count.
    pub image: u64,
    /// Start of the process (leader's `start_boottime`, ns of CLOCK_BOOTTIME).
    pub started_at: u64,
    pub pc: u64,
    pub sp: u64,
    pub fp: u64,
    /// Frames that are filled ([`record::FRAMES`]) or a bitmap of the pages that could be read ([`record::COPY`]).
    pub filled: u64,
}

/// Values of [`StackHeader::kind`].
pub mod record {
    /// A [`super::StackFrames`] follows.
    pub const FRAMES: u32 = 1;
    /// A [`super::StackCopy`] follows.
    pub const COPY: u32 = 2;
    /// A [`super::ProcessEnd`].
    pub const PROCESS_END: u32 = 3;
}

/// A stack walked in the kernel with a known leaf rule: program counters, innermost first.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StackFrames {
    pub header: StackHeader,
    pub frames: [u64; STACK_FRAMES],
}

/// Registers and the top of the user stack, to learn a leaf's rule from.
///
/// Page `i` of the stack, counted from the page that holds `sp`, lies at `i * PAGE`;
/// so the byte at `sp` is `bytes[sp % PAGE]`. Pages that could not be read are zero.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StackCopy {
    pub header: StackHeader,
    pub bytes: [u8; STACK_COPY],
}

/// A process that has or had stacks with us ended, or runs another program now.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
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
#[derive(Clone, Copy, Debug, Default)]
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

/// Settings that the agent may change while the programs run (`CONTROL`, one entry).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Control {
    /// Some process is armed: look in `ARMED` at every read and send.
    pub any_armed: u32,
    /// Stacks per second and CPU.
    pub stacks_per_second: u32,
    /// The agent's own process: never sampled.
    pub agent_tgid: u32,
    /// Number of this census, for counting shared files once.
    pub census: u32,
    /// Copies of stack memory per second and CPU.
    pub copies_per_second: u32,
    pub pad: u32,
}

const _: () = {
    assert!(size_of::<Origin>() == 48);
    assert!(size_of::<HalfClosed>() == 48);
    assert!(offset_of!(Holder, origin) == 24);
    assert!(size_of::<Holder>() == 200);
    assert!(size_of::<StackHeader>() == 64);
    assert!(size_of::<StackFrames>() == 64 + 8 * STACK_FRAMES);
    assert!(size_of::<StackCopy>() == 64 + STACK_COPY);
    assert!(size_of::<ProcessEnd>() == 32);
    assert!(size_of::<Transition>() == 64);
    assert!(size_of::<CensusCounts>() == 168);
    assert!(size_of::<LeafRule>() == 16);
};
