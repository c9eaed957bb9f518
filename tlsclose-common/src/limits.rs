//! Bounds of the kernel side. Every one of them, when hit, is counted in [`crate::facts::Lost`].

/// Frames of one walked user stack, innermost first.
pub const STACK_FRAMES: usize = 127;

/// Pages of an ordinary copy of stack memory. Of those, one less is used: a copy reaches just as
/// far above the stack pointer wherever in its page that points.
pub const COPY_PAGES: usize = 3;

/// Pages of a deep copy. 24 KiB hold 99 % of the stacks that were measured; 32 KiB no more.
pub const DEEP_COPY_PAGES: usize = 7;

/// Pages that may be missing before the rest of a copy is not tried: each costs a fault.
pub const COPY_HOLES: usize = 2;

/// How many seconds' worth of copies may be taken at once.
pub const COPIES_BURST_SECONDS: u64 = 5;

/// Frames of one walked Python stack, innermost first.
pub const PYTHON_FRAMES: usize = 48;

/// Thread states of a CPython process that are looked through for the current thread's.
pub const PYTHON_THREADS: usize = 256;

/// Bytes of a name or a file copied out of CPython (the end of longer file names).
pub const PYTHON_TEXT: usize = 256;

/// Bytes of a line table copied out of CPython.
pub const PYTHON_TABLE: usize = 16_384;

/// Entries of `PYTHON` (LRU): CPython processes.
pub const PYTHON_ENTRIES: u32 = 1_024;

/// Entries of `PYTHON_THREAD` (LRU): threads whose thread state is remembered.
pub const PYTHON_THREAD_ENTRIES: u32 = 4_096;

/// Entries of `PYTHON_CODES` (LRU): code objects that the agent has been sent.
pub const PYTHON_CODE_ENTRIES: u32 = 16_384;

/// A frame pointer further than this above the stack pointer is none.
pub const STACK_SPAN: u64 = 16 << 20;

/// Page size that user memory is copied by: a copy that meets an unmapped page loses only that page.
pub const PAGE: usize = 4096;

/// How many copies of one leaf are sent before its rule is known.
pub const COPIES_PER_LEAF: u32 = 24;

/// Length of a budget window.
pub const BUDGET_WINDOW_NS: u64 = 100_000_000;

/// Stacks that every process may take per second, whatever the others do.
pub const GUARANTEED_STACKS_PER_SECOND: u32 = 50;

/// Copies of stack memory that every process may take per second, whatever the others do.
pub const GUARANTEED_COPIES_PER_SECOND: u32 = 4;

/// And so many of places that have sent few ([`FIRST_COPIES`]): a process accepts before it closes.
pub const GUARANTEED_FIRST_COPIES_PER_SECOND: u32 = 16;

/// Copies of a place before they are as any other. One close may ask for two.
pub const FIRST_COPIES: u32 = 4;

/// Slots of the transition counter: `old * STATES + new`.
pub const STATES: usize = 16;

/// Entries of `ORIGIN` (LRU; only sockets whose opening was sampled are in it).
pub const ORIGIN_ENTRIES: u32 = 32_768;

/// Entries of `STACKS_SEEN` (LRU).
pub const STACKS_SEEN_ENTRIES: u32 = 8_192;

/// Entries of `CLOSES` (LRU).
pub const CLOSES_ENTRIES: u32 = 2_048;

/// Entries of `LEAVES` (LRU): one for each place, in each process, from which system calls are made.
pub const LEAF_ENTRIES: u32 = 4_096;

/// Entries of the per-process maps (LRU): budgets and descriptor errors.
pub const PROCESS_ENTRIES: u32 = 4_096;

/// Bytes of the ring buffer for stacks (a power of two, a multiple of the page size).
pub const STACK_RING_BYTES: u32 = 4 << 20;

/// Bytes of the ring buffer for the transition stream; a single page where nobody asked for the stream.
pub const STREAM_RING_BYTES: u32 = 8 << 20;

/// Entries of `HALF_CLOSED` unless `--max-sockets` says otherwise.
pub const HALF_CLOSED_ENTRIES: u32 = 131_072;

/// Processes that may be armed at once.
pub const ARMED_ENTRIES: u32 = 1_024;

/// Stacks that an armed process may take per second and CPU beyond the shared budget.
pub const ARMED_STACKS_PER_SECOND: u32 = 200;

/// Threads inside a send, where kprobes see sends. 24 bytes each.
pub const SENDING_ENTRIES: u32 = 4_096;

/// Descriptor tables that several processes share, or threads whose first thread is gone, that one census can tell apart.
pub const TABLE_ENTRIES: u32 = 1_024;

/// Places for files shared by several descriptors, each of which one census counts once: a power of two. A file that finds
/// none of [`SHARED_FILES_PROBES`] free is not told apart; up to half of the places, hardly any does.
pub const SHARED_FILES_ENTRIES: u32 = 131_072;

/// Places that a shared file may take.
pub const SHARED_FILES_PROBES: u32 = 16;

/// Listeners whose calls of listen and accept are remembered (LRU).
pub const LISTENER_ENTRIES: u32 = 4_096;

/// Children of one accept queue that a census writes out: all that one file writes must fit into 32 KiB.
pub const QUEUE_RECORDS: u32 = 32;

/// Children of one accept queue that a census looks at: this many, this many times.
pub const QUEUE_STRETCH: u32 = 128;
/// See [`QUEUE_STRETCH`].
pub const QUEUE_STRETCHES: u32 = 64;

/// Processes with TCP sockets that are known at once (LRU).
pub const SOCKET_PROCESS_ENTRIES: u32 = 16_384;

/// Censuses after which a process that no longer shows a TCP socket is forgotten.
pub const CENSUSES_REMEMBERED: u32 = 3;

/// Calls of close() that left a socket open and are remembered (LRU).
pub const CLOSER_ENTRIES: u32 = 8_192;

/// Descriptors that one close_range() is looked at for.
pub const CLOSE_RANGE_WALK: u32 = 1_024;

/// Entries of `ABORTS`: causes of abortive closes by process. The agent removes those of dead processes.
pub const ABORT_ENTRIES: u32 = 4_096;

/// Entries of `ABORT_STACKS` (LRU).
pub const ABORT_STACK_ENTRIES: u32 = 2_048;

/// Half-closed sockets without a known holder that one census writes out: they must fit into 32 KiB.
pub const UNHELD_RECORDS: u64 = 100;

/// Reads of one finished stream after which its readers are looked at, each time: a power of two.
pub const EOF_READS_OF_A_SPIN: u32 = 64;

/// Finished streams that are read again and again, and whose readers are remembered (LRU).
pub const EOF_SPIN_ENTRIES: u32 = 1_024;

/// Threads whose system calls may be looked at at once.
pub const SUSPECT_ENTRIES: u32 = 64;

/// Upper bounds, in milliseconds, of the buckets of how long sockets stayed half-closed.
pub const HALF_CLOSED_BUCKETS_MS: [u64; 10] =
    [1, 10, 100, 1_000, 10_000, 60_000, 300_000, 1_800_000, 7_200_000, 86_400_000];

/// A direction of a connection whose first bytes are no TLS is looked at until so many bytes have
/// passed: a STARTTLS dialogue, a PROXY header and a CONNECT request are shorter.
pub const TLS_PROBATION_BYTES: u64 = 16_384;

/// Calls in which the second direction may be something else after the first one began with TLS.
pub const TLS_QUIET_CALLS: u8 = 8;

/// Steps that one call is followed for: one for each record, and one for each piece of memory.
pub const TLS_STEPS: u32 = 1_024;

/// Pieces of memory that a message of sendmmsg() may have and be followed.
pub const TLS_BATCH_PIECES: u64 = 16;

/// How exact the time is at which TLS was recognised last.
pub const TLS_SEEN_STEP_NS: u64 = 1_000_000_000;

/// Entries of `TLS_SOCKETS` unless the agent says otherwise.
pub const TLS_SOCKETS_ENTRIES: u32 = 131_072;

/// Entries of `TLS_CLOSES`: a few for each process that closes TLS connections.
pub const TLS_CLOSES_ENTRIES: u32 = 16_384;

/// Entries of `TLS_STACKS` (LRU), between two censuses.
pub const TLS_STACKS_ENTRIES: u32 = 4_096;
