//! The only reads of kernel memory.
//!
//! Offsets come from the running kernel's BTF as frozen globals, so the verifier knows them as
//! constants and lets a typed pointer be loaded through directly: no helper call, faults read as
//! zero, and nothing that lockdown=confidentiality forbids. Only the walk from a descriptor to its
//! file needs `bpf_probe_read_kernel`, because the verifier does not type arrays of pointers.

use core::{ffi::c_void, ptr::addr_of};

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_skc_to_tcp_sock};
use tlsclose_common::{
    facts::state,
    layout::{ABSENT, FileRef, Layout},
};

#[unsafe(no_mangle)]
static LAYOUT: Layout = Layout::UNRESOLVED;
#[unsafe(no_mangle)]
static FILE_REF: FileRef = FileRef::UNRESOLVED;
#[unsafe(no_mangle)]
static TASK_IO_URING: u32 = ABSENT;

/// Reads a read-only global that the agent set at load.
macro_rules! global {
    ($place:expr) => {
        // SAFETY: a static of this program; volatile, because its compiled-in value is not the one that runs.
        unsafe { core::ptr::read_volatile(addr_of!($place)) }
    };
}
pub(crate) use global;

/// Loads a field of a kernel structure through a pointer that the verifier knows the type of.
macro_rules! field {
    ($base:expr, $field:ident : $ty:ty) => {{
        let base: *const c_void = $base;
        let offset = global!(LAYOUT.$field) as usize;
        // SAFETY: the verifier checks type and bounds of this load; a fault reads as zero.
        unsafe { core::ptr::read_volatile(base.byte_add(offset).cast::<$ty>()) }
    }};
}

pub const IPPROTO_TCP: u16 = 6;
pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;
const PF_IO_WORKER: u32 = 0x10;
const PF_KTHREAD: u32 = 0x20_0000;

/// A TCP socket: `struct sock *` with `sk_protocol == IPPROTO_TCP`.
///
/// MPTCP and SCTP share the tracepoints, and the socket-level ones fire for every family.
#[derive(Clone, Copy)]
pub struct Tcp(*const c_void);

/// Who keeps a socket open (KERNEL: net/ipv4/tcp.c, `__tcp_close`; net/core/sock.c, `sock_orphan`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// A file, with at least one reference.
    File,
    /// A file whose last reference is gone: we are inside the last close().
    Closing,
    /// No `struct socket`: an orphan, or a child that nobody has accepted.
    NoSocket,
    /// A kernel socket, without a file.
    Kernel,
}

impl Tcp {
    #[inline(always)]
    pub fn new(sk: *const c_void) -> Option<Self> {
        let family: u16 = field!(sk, sk_family: u16);
        if family != AF_INET && family != AF_INET6 {
            return None;
        }
        let protocol: u16 = field!(sk, sk_protocol: u16);
        (protocol == IPPROTO_TCP).then_some(Self(sk))
    }

    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0 as u64
    }

    #[inline(always)]
    pub fn family(self) -> u8 {
        field!(self.0, sk_family: u16) as u8
    }

    #[inline(always)]
    pub fn state(self) -> u8 {
        field!(self.0, sk_state: u8)
    }

    /// `sk_shutdown`: 1 the receive side, 2 the send side.
    #[inline(always)]
    pub fn shutdown(self) -> u8 {
        field!(self.0, sk_shutdown: u8)
    }

    /// A task owns the socket's lock: we run in process context. Softirq otherwise, but for
    /// children killed by their listener's close (`inet_csk_listen_stop`).
    #[inline(always)]
    pub fn owned(self) -> bool {
        field!(self.0, sk_lock_owned: u32) != 0
    }

    #[inline(always)]
    pub fn remote_port(self) -> u16 {
        u16::from_be(field!(self.0, sk_dport: u16))
    }

    /// `skc_num`; 0 once the port has been put.
    #[inline(always)]
    pub fn local_port(self) -> u16 {
        field!(self.0, sk_num: u16)
    }

    #[inline(always)]
    pub fn netns(self) -> u32 {
        let net: *const c_void = field!(self.0, sk_net: *const c_void);
        field!(net, net_inum: u32)
    }

    /// Remote address and port, folded: differs, all but surely, between two users of one socket address.
    #[inline(always)]
    pub fn peer(self) -> u32 {
        let address = if self.family() as u16 == AF_INET {
            field!(self.0, sk_daddr: u32)
        } else {
            let halves: [u64; 2] = self.v6_remote();
            (halves[0] ^ halves[1] ^ ((halves[0] ^ halves[1]) >> 32)) as u32
        };
        address ^ ((self.remote_port() as u32) << 16 | self.remote_port() as u32)
    }

    #[inline(always)]
    fn v6_remote(self) -> [u64; 2] {
        words(self.0, global!(LAYOUT.sk_v6_daddr))
    }

    /// Local and remote address; IPv4 takes the first four bytes.
    #[inline(always)]
    pub fn addresses(self) -> ([u64; 2], [u64; 2]) {
        if self.family() as u16 == AF_INET {
            ([field!(self.0, sk_rcv_saddr: u32) as u64, 0], [field!(self.0, sk_daddr: u32) as u64, 0])
        } else {
            (words(self.0, global!(LAYOUT.sk_v6_rcv_saddr)), self.v6_remote())
        }
    }

    #[inline(always)]
    pub fn hold(self) -> Hold {
        let socket: *const c_void = field!(self.0, sk_socket: *const c_void);
        if socket.is_null() {
            return Hold::NoSocket;
        }
        let file: *const c_void = field!(socket, socket_file: *const c_void);
        if file.is_null() {
            return Hold::Kernel;
        }
        if references(file) == 0 { Hold::Closing } else { Hold::File }
    }

    /// Fields behind `struct sock` need the verifier to know that this is a `tcp_sock`.
    #[inline(always)]
    pub fn sequences(self) -> Option<Sequences> {
        // SAFETY: the helper checks that it is a full TCP socket.
        let tp = unsafe { bpf_skc_to_tcp_sock(self.0 as *mut _) } as *const c_void;
        if tp.is_null() {
            return None;
        }
        Some(Sequences(tp))
    }
}

/// Sequence numbers and counters of a `struct tcp_sock`.
#[derive(Clone, Copy)]
pub struct Sequences(*const c_void);

impl Sequences {
    #[inline(always)]
    pub fn write_seq(self) -> u32 {
        field!(self.0, tcp_write_seq: u32)
    }
    #[inline(always)]
    pub fn snd_una(self) -> u32 {
        field!(self.0, tcp_snd_una: u32)
    }
    #[inline(always)]
    pub fn copied_seq(self) -> u32 {
        field!(self.0, tcp_copied_seq: u32)
    }
    #[inline(always)]
    pub fn rcv_nxt(self) -> u32 {
        field!(self.0, tcp_rcv_nxt: u32)
    }
    #[inline(always)]
    pub fn lsndtime(self) -> u32 {
        field!(self.0, tcp_lsndtime: u32)
    }
    #[inline(always)]
    pub fn rcv_tstamp(self) -> u32 {
        field!(self.0, tcp_rcv_tstamp: u32)
    }
    /// The local port as bound; stays when `skc_num` is put.
    #[inline(always)]
    pub fn local_port(self) -> u16 {
        u16::from_be(field!(self.0, inet_sport: u16))
    }

    /// Bytes read so far by the program.
    #[inline(always)]
    pub fn read_bytes(self) -> u64 {
        let received = field!(self.0, tcp_bytes_received: u64);
        received.wrapping_sub(self.rcv_nxt().wrapping_sub(self.copied_seq()) as u64)
    }

    /// Bytes written so far by the program.
    #[inline(always)]
    pub fn written_bytes(self) -> u64 {
        let acked = field!(self.0, tcp_bytes_acked: u64);
        acked.wrapping_add(self.write_seq().wrapping_sub(self.snd_una()) as u64)
    }
}

/// References to a file: 0 means that its last one is gone.
///
/// Up to 6.12 `f_count` (0 is dead), from 6.13 `f_ref`, which holds references − 1 and sets its
/// top bit when dead (include/linux/file_ref.h).
#[inline(always)]
pub fn references(file: *const c_void) -> u64 {
    let offset = global!(FILE_REF.offset) as usize;
    // SAFETY: as for `field!`.
    let count = unsafe { core::ptr::read_volatile(file.byte_add(offset).cast::<u64>()) };
    if global!(FILE_REF.biased) == 0 {
        count
    } else if (count as i64) < 0 {
        0
    } else {
        count + 1
    }
}

/// Two words of a structure that the verifier knows.
#[inline(always)]
fn words(base: *const c_void, offset: u32) -> [u64; 2] {
    // SAFETY: as for `field!`; `in6_addr` is 16 bytes.
    unsafe {
        let at = base.cast::<u8>().add(offset as usize).cast::<u32>();
        let word = |i: usize| core::ptr::read_volatile(at.add(i)) as u64;
        [word(0) | word(1) << 32, word(2) | word(3) << 32]
    }
}

/// The `struct sock` of a `struct socket`.
#[inline(always)]
pub fn sock_of(socket: *const c_void) -> *const c_void {
    field!(socket, socket_sk: *const c_void)
}

/// A task and the process it belongs to.
#[derive(Clone, Copy)]
pub struct Task(*const c_void);

impl Task {
    #[inline(always)]
    pub fn current() -> Self {
        // SAFETY: a helper without arguments.
        Self(unsafe { bpf_get_current_task_btf() } as *const c_void)
    }

    #[inline(always)]
    pub fn from_ptr(task: *const c_void) -> Self {
        Self(task)
    }

    #[inline(always)]
    pub fn as_ptr(self) -> *const c_void {
        self.0
    }

    #[inline(always)]
    pub fn tgid(self) -> u32 {
        field!(self.0, task_tgid: u32)
    }

    /// Start of the process, in ns of CLOCK_BOOTTIME.
    #[inline(always)]
    pub fn started_at(self) -> u64 {
        let leader: *const c_void = field!(self.0, task_group_leader: *const c_void);
        field!(leader, task_start_boottime: u64)
    }

    #[inline(always)]
    pub fn is_leader(self) -> bool {
        let leader: *const c_void = field!(self.0, task_group_leader: *const c_void);
        leader as u64 == self.0 as u64
    }

    /// Tells this program in this process from any other: changes with PID, start and exec.
    #[inline(always)]
    pub fn image(self, started_at: u64) -> u64 {
        let execs = field!(self.0, task_self_exec_id: u32);
        started_at ^ ((self.tgid() as u64) << 40) ^ (execs as u64)
    }

    /// Has no user stack worth walking: a kernel thread or an io_uring worker.
    #[inline(always)]
    pub fn without_user_stack(self) -> bool {
        field!(self.0, task_flags: u32) & (PF_KTHREAD | PF_IO_WORKER) != 0
    }

    /// Uses io_uring, so may accept connections that no accept hook sees.
    #[inline(always)]
    pub fn uses_io_uring(self) -> bool {
        let offset = global!(TASK_IO_URING);
        if offset == ABSENT {
            return false;
        }
        // SAFETY: as for `field!`.
        let context = unsafe { core::ptr::read_volatile(self.0.cast::<u8>().add(offset as usize).cast::<u64>()) };
        context != 0
    }

    /// The TCP socket behind one of the task's descriptors: its address and [`Tcp::peer`].
    pub fn socket_at(self, fd: u32) -> Option<(u64, u32)> {
        let files: *const c_void = field!(self.0, task_files: *const c_void);
        let fdt: *const c_void = field!(files, files_fdt: *const c_void);
        if fd >= field!(fdt, fdt_max_fds: u32) {
            return None;
        }
        let table: u64 = field!(fdt, fdt_fd: u64);
        let file = word_at(table + fd as u64 * 8);
        let socket = word_at(file + global!(LAYOUT.file_private_data) as u64);
        let sk = word_at(socket + global!(LAYOUT.socket_sk) as u64);
        let family = word_at(sk + global!(LAYOUT.sk_family) as u64) as u16;
        let protocol = word_at(sk + global!(LAYOUT.sk_protocol) as u64) as u16;
        if (family != AF_INET && family != AF_INET6) || protocol != IPPROTO_TCP {
            return None;
        }
        let port = u16::from_be(word_at(sk + global!(LAYOUT.sk_dport) as u64) as u16) as u32;
        let address = if family == AF_INET {
            word_at(sk + global!(LAYOUT.sk_daddr) as u64) as u32
        } else {
            let remote = sk + global!(LAYOUT.sk_v6_daddr) as u64;
            let folded = word_at(remote) ^ word_at(remote + 8);
            (folded ^ (folded >> 32)) as u32
        };
        Some((sk, address ^ (port << 16 | port)))
    }
}

/// A word of kernel memory; 0 where it cannot be read.
#[inline(always)]
fn word_at(address: u64) -> u64 {
    let mut word = 0u64;
    // SAFETY: the helper checks the address, and zeroes the word on a fault.
    unsafe { bpf_probe_read_kernel((&raw mut word).cast(), 8, address as *const c_void) };
    word
}

/// Half-closed: one side has said goodbye and the connection can only be ended by close().
#[inline(always)]
pub fn is_half_closed(state_now: u8) -> bool {
    matches!(state_now, state::CLOSE_WAIT | state::FIN_WAIT2 | state::CLOSE)
}
