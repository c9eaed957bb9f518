//! Offsets of the kernel fields that the programs read, in bytes.
//!
//! `rustc` emits no CO-RE relocations, so the agent resolves every offset from
//! the running kernel's BTF at load and passes this structure as a read-only
//! global. A field missing in BTF is an error at load, never a zero.

use bytemuck::{Pod, Zeroable};

/// Declares the structure together with the BTF path of every field, so that
/// the list of what is read from the kernel stands in one place.
macro_rules! layout {
    ($($(#[$doc:meta])* $field:ident = $ty:literal . $path:literal,)*) => {
        /// Offsets in bytes from the start of the structure named by [`FIELDS`].
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
        pub struct Layout { $(
            #[doc = concat!("`", $ty, ".", $path, "`.")]
            $(#[$doc])*
            pub $field: u32,
        )* }

        /// `(field, structure, member path)` of every offset, in declaration order.
        pub const FIELDS: &[(&str, &str, &str)] = &[$((stringify!($field), $ty, $path),)*];

        impl Layout {
            /// What the programs are compiled with, before the agent fills in the offsets.
            pub const UNRESOLVED: Self = Self { $($field: 0,)* };

            /// Builds the structure by asking `resolve(structure, path)` for each offset.
            pub fn resolve<E>(mut resolve: impl FnMut(&str, &str) -> Result<u32, E>) -> Result<Self, E> {
                Ok(Self { $($field: resolve($ty, $path)?,)* })
            }
        }
    };
}

layout! {
    // include/net/sock.h
    sk_family = "sock"."__sk_common.skc_family",
    sk_state = "sock"."__sk_common.skc_state",
    sk_num = "sock"."__sk_common.skc_num",
    sk_dport = "sock"."__sk_common.skc_dport",
    sk_daddr = "sock"."__sk_common.skc_daddr",
    sk_rcv_saddr = "sock"."__sk_common.skc_rcv_saddr",
    sk_v6_daddr = "sock"."__sk_common.skc_v6_daddr",
    sk_v6_rcv_saddr = "sock"."__sk_common.skc_v6_rcv_saddr",
    sk_net = "sock"."__sk_common.skc_net.net",
    sk_protocol = "sock"."sk_protocol",
    sk_shutdown = "sock"."sk_shutdown",
    sk_err = "sock"."sk_err",
    sk_flags = "sock"."__sk_common.skc_flags",
    sk_socket = "sock"."sk_socket",
    sk_lock_owned = "sock"."sk_lock.owned",
    sk_ack_backlog = "sock"."sk_ack_backlog",
    sk_max_ack_backlog = "sock"."sk_max_ack_backlog",
    // include/linux/tcp.h, include/net/inet_sock.h: behind a cast to tcp_sock
    tcp_write_seq = "tcp_sock"."write_seq",
    tcp_snd_una = "tcp_sock"."snd_una",
    tcp_copied_seq = "tcp_sock"."copied_seq",
    tcp_rcv_nxt = "tcp_sock"."rcv_nxt",
    tcp_lsndtime = "tcp_sock"."lsndtime",
    tcp_rcv_tstamp = "tcp_sock"."rcv_tstamp",
    tcp_bytes_received = "tcp_sock"."bytes_received",
    tcp_bytes_acked = "tcp_sock"."bytes_acked",
    tcp_linger2 = "tcp_sock"."linger2",
    tcp_ulp_ops = "tcp_sock"."inet_conn.icsk_ulp_ops",
    ulp_name = "tcp_ulp_ops"."name",
    inet_sport = "inet_sock"."inet_sport",
    // include/net/inet_connection_sock.h, include/net/request_sock.h: the accept queue
    tcp_queue_head = "tcp_sock"."inet_conn.icsk_accept_queue.rskq_accept_head",
    tcp_queue_requests = "tcp_sock"."inet_conn.icsk_accept_queue.qlen",
    tcp_queue_young = "tcp_sock"."inet_conn.icsk_accept_queue.young",
    request_next = "request_sock"."dl_next",
    request_sk = "request_sock"."sk",
    request_listener = "request_sock"."__req_common.skc_listener",
    // include/linux/net.h, include/linux/fs.h
    socket_file = "socket"."file",
    socket_sk = "socket"."sk",
    file_private_data = "file"."private_data",
    file_op = "file"."f_op",
    // include/linux/sched.h
    task_tgid = "task_struct"."tgid",
    task_flags = "task_struct"."flags",
    task_group_leader = "task_struct"."group_leader",
    task_start_boottime = "task_struct"."start_boottime",
    task_self_exec_id = "task_struct"."self_exec_id",
    task_files = "task_struct"."files",
    task_signal = "task_struct"."signal",
    task_comm = "task_struct"."comm",
    task_mm = "task_struct"."mm",
    // include/linux/sched/signal.h
    signal_live = "signal_struct"."live",
    signal_nr_threads = "signal_struct"."nr_threads",
    // include/linux/mm_types.h, include/linux/dcache.h
    mm_exe_file = "mm_struct"."exe_file",
    file_dentry = "file"."f_path.dentry",
    dentry_name = "dentry"."d_name.name",
    // include/linux/fdtable.h
    files_count = "files_struct"."count",
    files_fdt = "files_struct"."fdt",
    fdt_max_fds = "fdtable"."max_fds",
    fdt_fd = "fdtable"."fd",
    // include/net/net_namespace.h
    net_inum = "net"."ns.inum",
}

/// Where a file keeps its reference count, and when that count is dead.
///
/// Up to 6.12 `file.f_count` (an `atomic_long_t`, dead at 0); from 6.13
/// `file.f_ref.refcnt` (`file_ref_t`, dead when the top bit is set).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FileRef {
    /// Of the count in `struct file`, in bytes.
    pub offset: u32,
    /// 0: dead at zero. 1: dead when negative.
    pub biased: u32,
}

impl FileRef {
    /// See [`Layout::UNRESOLVED`].
    pub const UNRESOLVED: Self = Self { offset: 0, biased: 0 };
}

/// Where the number of the running system call is in `struct pt_regs`, in bytes, and the numbers of those
/// that move data between user memory and a socket, or tell an event loop at work from one that spins.
/// The agent fills it in for its architecture; one that it has not is never called there.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct SystemCalls {
    /// In bytes.
    pub number_at: u32,
    /// Number of read().
    pub read: u32,
    /// Number of recvfrom().
    pub recvfrom: u32,
    /// Number of readv().
    pub readv: u32,
    /// Number of recvmsg().
    pub recvmsg: u32,
    /// Number of write().
    pub write: u32,
    /// Number of sendto().
    pub sendto: u32,
    /// Number of writev().
    pub writev: u32,
    /// Number of sendmsg().
    pub sendmsg: u32,
    /// Number of sendmmsg().
    pub sendmmsg: u32,
    /// Number of epoll_wait().
    pub epoll_wait: u32,
    /// Number of epoll_pwait().
    pub epoll_pwait: u32,
    /// Number of recvmmsg().
    pub recvmmsg: u32,
    /// Number of accept().
    pub accept: u32,
    /// Number of accept4().
    pub accept4: u32,
    /// Number of io_uring_enter().
    pub io_uring_enter: u32,
    /// Number of clock_nanosleep().
    pub clock_nanosleep: u32,
}

impl SystemCalls {
    /// See [`Layout::UNRESOLVED`].
    pub const UNRESOLVED: Self = Self {
        number_at: 0,
        read: 0,
        recvfrom: 0,
        readv: 0,
        recvmsg: 0,
        write: 0,
        sendto: 0,
        writev: 0,
        sendmsg: 0,
        sendmmsg: 0,
        epoll_wait: 0,
        epoll_pwait: 0,
        recvmmsg: 0,
        accept: 0,
        accept4: 0,
        io_uring_enter: 0,
        clock_nanosleep: 0,
    };
}

/// Offset of `task_struct.io_uring`, or [`ABSENT`] on kernels built without io_uring.
pub const TASK_IO_URING: (&str, &str) = ("task_struct", "io_uring");

/// Offset of the user-space thread pointer, or [`ABSENT`] where the architecture keeps none in memory.
pub const TASK_THREAD_POINTER: (&str, &str) = ("task_struct", "thread.fsbase");

/// Offsets of `tcp_sock.inet_conn.icsk_retransmits` and `icsk_probes_out` (one byte each), or [`ABSENT`].
pub const TCP_RETRANSMITS: (&str, &str) = ("tcp_sock", "inet_conn.icsk_retransmits");
/// See [`TCP_RETRANSMITS`].
pub const TCP_PROBES_OUT: (&str, &str) = ("tcp_sock", "inet_conn.icsk_probes_out");

/// An optional field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;
