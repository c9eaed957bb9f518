//! All maps, and the counters that every file may bump.

mod values;

use core::arch::asm;

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf},
};
use tlsclose_common::{
    facts::{
        AbortKey, AbortStackKey, Aborts, BadCloses, Budget, CensusCounts, ClosePair, Closer, Control, Durations,
        EofSpin, HalfClosed, Interpreter, LOST_SLOTS, LeafKey, LeafRule, Lost, Origin, PythonCode, PythonStack,
        Refusal, SharedFile, StackFrames, Suspect, Table, TlsCloseKey, TlsCloses, TlsSocket, TlsStackKey, close_call,
    },
    limits::*,
};

pub use self::values::{Slots, Values};

/// Who opened a socket, by address. Lossy.
#[map]
pub static ORIGIN: LruHashMap<u64, Origin> = LruHashMap::with_max_entries(ORIGIN_ENTRIES, 0);

/// Processes that a recent census met with a TCP socket: the number of that census.
#[map]
pub static SOCKET_PROCESSES: LruHashMap<u32, u32> = LruHashMap::with_max_entries(SOCKET_PROCESS_ENTRIES, 0);

/// Calls of close() that left a socket open, by its address.
#[map]
pub static CLOSERS: LruHashMap<u64, Closer> = LruHashMap::with_max_entries(CLOSER_ENTRIES, 0);

/// Calls of close() for what was not open, by process.
#[map]
pub static BAD_CLOSES: LruHashMap<u32, BadCloses> = LruHashMap::with_max_entries(PROCESS_ENTRIES, 0);

/// Calls of close() by processes with TCP sockets, by result.
#[map]
pub static CLOSE_CALLS: PerCpuArray<u64> = PerCpuArray::with_max_entries(close_call::RESULTS, 0);

/// Where listeners were made, and where they were last accepted from, by address.
#[map]
pub static LISTENERS: LruHashMap<u64, Origin> = LruHashMap::with_max_entries(LISTENER_ENTRIES, 0);

/// Half-closed sockets that a file holds, by address. Exact. Nearly every connection passes through it: from a list of
/// free entries, because the caches that BPF allocates from ask their own processor for an interrupt every 48 entries
/// (KERNEL: kernel/bpf/memalloc.c, `irq_work_raise`), which costs a virtual machine tens of microseconds.
#[map]
pub static HALF_CLOSED: HashMap<u64, HalfClosed> = HashMap::with_max_entries(HALF_CLOSED_ENTRIES, 0);

/// Entries put into ([`CAME`]) and taken out of ([`WENT`]) `HALF_CLOSED`.
#[map]
pub static HALF_CLOSED_COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(2, 0);

/// Keys of the stacks that the agent has been sent.
#[map]
pub static STACKS_SEEN: LruHashMap<u64, u32> = LruHashMap::with_max_entries(STACKS_SEEN_ENTRIES, 0);

/// Closes of sockets whose opening was sampled, until the agent fetches them. Lossy.
#[map]
pub static CLOSES: LruHashMap<ClosePair, u64> = LruHashMap::with_max_entries(CLOSES_ENTRIES, 0);

/// Connections that ended by a reset or an error, by process and cause. Exact.
#[map]
pub static ABORTS: PerCpuHashMap<AbortKey, Aborts> = PerCpuHashMap::with_max_entries(ABORT_ENTRIES, 0);

/// Where those were closed, until the agent fetches them. Lossy.
#[map]
pub static ABORT_STACKS: LruHashMap<AbortStackKey, u64> = LruHashMap::with_max_entries(ABORT_STACK_ENTRIES, 0);

/// Connections on which TLS was recognised, by socket address. Exact.
#[map]
pub static TLS_SOCKETS: HashMap<u64, TlsSocket> = HashMap::with_max_entries(TLS_SOCKETS_ENTRIES, BPF_F_NO_PREALLOC);

/// How TLS connections were closed, by process. Exact; kept per CPU.
#[map]
pub static TLS_CLOSES: PerCpuHashMap<TlsCloseKey, TlsCloses> =
    PerCpuHashMap::with_max_entries(TLS_CLOSES_ENTRIES, BPF_F_NO_PREALLOC);

/// The close of a TLS connection whose stack is being taken: at a transition (0), and when the
/// socket is gone (1). One program does not run twice at once on a CPU, two may.
#[map]
pub static TLS_SAMPLE: PerCpuArray<TlsStackKey> = PerCpuArray::with_max_entries(2, 0);

/// When TLS was recognised last, to a second, in ns of CLOCK_MONOTONIC. The agent sets it to 0
/// when that is long ago and `TLS_SOCKETS` is empty.
#[map]
pub static TLS_SEEN: Array<u64> = Array::with_max_entries(1, 0);

/// Sampled closes of TLS connections by code path, until the agent fetches them. Lossy.
#[map]
pub static TLS_STACKS: LruHashMap<TlsStackKey, u64> = LruHashMap::with_max_entries(TLS_STACKS_ENTRIES, 0);

/// How to unwind each place that makes system calls; filled in by the agent.
#[map]
pub static LEAVES: LruHashMap<LeafKey, LeafRule> = LruHashMap::with_max_entries(LEAF_ENTRIES, 0);

/// Stack budget by process.
#[map]
pub static PROCESS_BUDGET: LruHashMap<u32, Budget> = LruHashMap::with_max_entries(PROCESS_ENTRIES, 0);

/// accept() and socket() calls that failed for want of a descriptor, by process.
#[map]
pub static EMFILE: LruHashMap<u32, u64> = LruHashMap::with_max_entries(PROCESS_ENTRIES, 0);

/// Processes that already show a lingering socket; filled in by the agent.
#[map]
pub static ARMED: HashMap<u32, u32> = HashMap::with_max_entries(ARMED_ENTRIES, 0);

/// Who reads a finished stream again and again, by the socket's address. Lossy.
#[map]
pub static EOF_SPINS: LruHashMap<u64, EofSpin> = LruHashMap::with_max_entries(EOF_SPIN_ENTRIES, 0);

/// Threads whose system calls are looked at; filled in, and emptied, by the agent.
#[map]
pub static SUSPECTS: HashMap<u32, Suspect> = HashMap::with_max_entries(SUSPECT_ENTRIES, 0);

/// Descriptor tables that one census meets more than once, by address.
#[map]
pub static TABLES: LruHashMap<u64, Table> = LruHashMap::with_max_entries(TABLE_ENTRIES, 0);

/// Files shared by several descriptors. Places of earlier censuses are free.
#[map]
pub static SHARED_FILES: Array<SharedFile> = Array::with_max_entries(SHARED_FILES_ENTRIES, 0);

/// Sockets that threads are sending to, where a send is seen in two places.
#[cfg(feature = "probed")]
#[map]
pub static SENDING: LruHashMap<u64, u64> = LruHashMap::with_max_entries(SENDING_ENTRIES, 0);

/// The file that the census looks at, and holds a reference to meanwhile; 0: none.
#[map]
pub static CENSUS_FILE: Array<u64> = Array::with_max_entries(1, 0);

#[map]
pub static CONTROL: Array<Control> = Array::with_max_entries(1, 0);

/// The number of the census in which a process that uses io_uring last read from a young socket; 0: never.
#[map]
pub static IO_URING_MET: Array<u32> = Array::with_max_entries(1, 0);

/// Budgets of this CPU: for stacks (0), for copies of stack memory (1) and those of processes that
/// have had few (3), for stacks of closes (2).
#[map]
pub static BUDGET: PerCpuArray<Budget> = PerCpuArray::with_max_entries(4, 0);

/// Who was refused last by this CPU's budgets for stacks (0) and for those of closes (2).
#[map]
pub static REFUSED: PerCpuArray<Refusal> = PerCpuArray::with_max_entries(4, 0);

/// Transitions seen: `old * STATES + new`.
#[map]
pub static TRANSITIONS: PerCpuArray<u64> = PerCpuArray::with_max_entries((STATES * STATES) as u32, 0);

/// Time spent in CLOSE_WAIT (0) and in FIN_WAIT_2 held by a file (1).
#[map]
pub static DURATIONS: PerCpuArray<Durations> = PerCpuArray::with_max_entries(2, 0);

#[map]
pub static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(LOST_SLOTS, 0);

#[map]
pub static CENSUS: PerCpuArray<CensusCounts> = PerCpuArray::with_max_entries(1, 0);

/// Room for the stack being walked on this CPU.
#[map]
pub static SCRATCH: PerCpuArray<StackFrames> = PerCpuArray::with_max_entries(1, 0);

/// How to walk the Python stacks of a process, by [`tlsclose_common::facts::StackHeader::image`];
/// filled in by the agent, and handed on at fork.
#[map]
pub static PYTHON: LruHashMap<u64, Interpreter> = LruHashMap::with_max_entries(PYTHON_ENTRIES, 0);

/// Thread states by thread.
#[map]
pub static PYTHON_THREAD: LruHashMap<u64, u64> = LruHashMap::with_max_entries(PYTHON_THREAD_ENTRIES, 0);

/// Code objects that the agent has been sent.
#[map]
pub static PYTHON_CODES: LruHashMap<u64, u32> = LruHashMap::with_max_entries(PYTHON_CODE_ENTRIES, 0);

/// The rules of the Python process whose stack is being walked on this CPU.
#[map]
pub static PYTHON_RULES: PerCpuArray<Interpreter> = PerCpuArray::with_max_entries(1, 0);

/// Room for the Python stack being walked on this CPU.
#[map]
pub static PYTHON_STACK: PerCpuArray<PythonStack> = PerCpuArray::with_max_entries(1, 0);

/// Room for the code object being copied on this CPU.
#[map]
pub static PYTHON_CODE: PerCpuArray<PythonCode> = PerCpuArray::with_max_entries(1, 0);

/// New stacks, and the ends of processes, for the agent.
#[map]
pub static STACK_RING: RingBuf = RingBuf::with_byte_size(STACK_RING_BYTES, 0);

/// The opt-in stream of transitions.
#[map]
pub static STREAM_RING: RingBuf = RingBuf::with_byte_size(4096, 0);

/// One more. A program in process context may be interrupted in the midst of it by another one, which counts the same
/// on the same CPU: so in one instruction.
///
/// # Safety
/// `count` is aligned, and stays valid until the program ends.
#[inline(always)]
pub unsafe fn one_more(count: *mut u64) {
    // SAFETY: the caller's promise.
    unsafe { add(count, 1) };
}

/// # Safety
/// As of [`one_more`].
#[inline(always)]
unsafe fn add(count: *mut u64, number: i64) {
    // SAFETY: the caller's promise. The compiler has no atomic types for BPF, whose oldest machines have this one.
    unsafe { asm!("lock *(u64 *)({} + 0) += {}", in(reg) count, in(reg) number, options(nostack)) };
}

/// Entries of `HALF_CLOSED` that came, in `HALF_CLOSED_COUNTS`.
pub const CAME: u32 = 0;
/// And that went.
pub const WENT: u32 = 1;

/// Counts an entry of `HALF_CLOSED` that came or went, or takes that back.
///
/// To be called before the map is changed: the instruction waits until all that was written has arrived, and an entry
/// is often on its way from another processor's cache.
#[inline(always)]
pub fn half_closed_count(slot: u32, number: i64) {
    if let Some(count) = HALF_CLOSED_COUNTS.get_ptr_mut(slot) {
        // SAFETY: as in `lost`.
        unsafe { add(count, number) };
    }
}

/// Counts something that did not fit.
#[inline(always)]
pub fn lost(what: Lost) {
    if let Some(count) = LOST.get_ptr_mut(what as u32) {
        // SAFETY: a per-CPU slot of a map that is never freed while the program runs.
        unsafe { one_more(count) };
    }
}
