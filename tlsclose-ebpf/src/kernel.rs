//! The only reads of kernel memory.
//!
//! Offsets come from the running kernel's BTF as frozen globals, so the verifier knows them as
//! constants and lets a typed pointer be loaded through directly: no helper call, faults read as
//! zero, and nothing that lockdown=confidentiality forbids. What only an address is known of needs
//! `bpf_probe_read_kernel`: the file behind a descriptor, because the verifier does not type arrays
//! of pointers, the sockets in an accept queue, and those that no descriptor shows. Where that is
//! forbidden, they are left out. Kernels before 5.15 type less: for them all of this is compiled a
//! second time (`access`).

#[cfg_attr(not(feature = "probed"), path = "kernel/access/typed.rs")]
#[cfg_attr(feature = "probed", path = "kernel/access/probed.rs")]
pub mod access;
pub mod arch;
mod clock;
mod task;
mod tcp;
mod untyped_sock;

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use tlsclose_common::{
    facts::state,
    layout::{FileRef, Layout},
};

pub use self::{
    clock::{jiffies, now_ns},
    task::{Task, current_thread, socket_of},
    tcp::{Hold, RCV_SHUTDOWN, SEND_SHUTDOWN, Sequences, Tcp, port_taken},
    untyped_sock::{Request, Stray},
};

#[unsafe(no_mangle)]
static LAYOUT: Layout = Layout::UNRESOLVED;
#[unsafe(no_mangle)]
static FILE_REF: FileRef = FileRef::UNRESOLVED;
/// 0 where programs must not call `bpf_probe_read_kernel`.
#[unsafe(no_mangle)]
static BY_ADDRESS: u32 = 1;

/// Reads a read-only global that the agent set at load.
macro_rules! global {
    ($place:expr) => {
        // SAFETY: a static of this program; volatile, because its compiled-in value is not the one that runs.
        unsafe { core::ptr::read_volatile(&raw const $place) }
    };
}
pub(crate) use global;

/// Loads a field of a kernel structure.
macro_rules! field {
    ($base:expr, $field:ident : $ty:ty) => {{
        let base: *const c_void = $base;
        crate::kernel::access::load::<$ty>(base, global!(LAYOUT.$field) as usize)
    }};
}
use field;

pub const IPPROTO_TCP: u16 = 6;
pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;

/// References to a file: 0 means that its last one is gone.
///
/// Up to 6.12 `f_count` (0 is dead), from 6.13 `f_ref`, which holds references − 1 and sets its
/// top bit when dead (include/linux/file_ref.h).
#[inline(always)]
pub fn references(file: *const c_void) -> u64 {
    counted(access::load(file, global!(FILE_REF.offset) as usize))
}

/// The same for a file of which only the address is known.
#[inline(always)]
pub fn references_at(file: u64) -> u64 {
    counted(word_at(file + global!(FILE_REF.offset) as u64))
}

#[inline(always)]
fn counted(count: u64) -> u64 {
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
    let word = |i: usize| access::load::<u32>(base, offset as usize + 4 * i) as u64;
    [word(0) | word(1) << 32, word(2) | word(3) << 32]
}

/// The `struct sock` of a `struct socket`.
#[inline(always)]
pub fn sock_of(socket: *const c_void) -> *const c_void {
    field!(socket, socket_sk: *const c_void)
}

/// `skc_state` of any kind of socket, those short ones included that are no `struct sock`.
#[inline(always)]
pub fn state_of(sk: *const c_void) -> u8 {
    field!(sk, sk_state: u8)
}

/// Kernel memory may be read of which only the address is known: nothing else runs before 5.15.
#[inline(always)]
pub fn reads_by_address() -> bool {
    cfg!(feature = "probed") || global!(BY_ADDRESS) != 0
}

/// A word of kernel memory; 0 where it cannot be read.
#[inline(always)]
fn word_at(address: u64) -> u64 {
    if !reads_by_address() {
        // The verifier knows that, and takes the call below out.
        return 0;
    }
    let mut word = 0u64;
    // SAFETY: the helper checks the address, and zeroes the word on a fault.
    unsafe { bpf_probe_read_kernel((&raw mut word).cast(), 8, address as *const c_void) };
    word
}

/// `bpf_probe_read_user` of a fixed size: not 0 where the memory cannot be read. aya makes it
/// `bpf_probe_read` where `bpf_probe_read_kernel` is not there (`Function::sanitize` in aya-obj), and
/// what forbids the one forbids that, too. Where the size is computed, whoever calls the helper asks
/// before: verifiers do not keep bounds across what lies between.
///
/// # Safety
/// `to` must have room for `SIZE` bytes.
#[inline(always)]
pub unsafe fn read_user<const SIZE: u32>(to: *mut c_void, from: *const c_void) -> i64 {
    if !reads_by_address() {
        return -1;
    }
    // SAFETY: the caller's promise; the helper checks the other address.
    unsafe { bpf_probe_read_user(to, SIZE, from) }
}

/// Half-closed: one side has said goodbye and the connection can only be ended by close().
#[inline(always)]
pub fn is_half_closed(state_now: u8) -> bool {
    matches!(state_now, state::CLOSE_WAIT | state::FIN_WAIT2 | state::CLOSE)
}
