//! The only reads of kernel memory.
//!
//! Offsets come from the running kernel's BTF as frozen globals, so the verifier knows them as
//! constants and lets a typed pointer be loaded through directly: no helper call, faults read as
//! zero, and nothing that lockdown=confidentiality forbids. Only the walk from a descriptor to its
//! file needs `bpf_probe_read_kernel`, because the verifier does not type arrays of pointers.
//! Kernels before 5.15 type less: for them all of this is compiled a second time (`access`).

#[cfg_attr(not(feature = "probed"), path = "kernel/access/typed.rs")]
#[cfg_attr(feature = "probed", path = "kernel/access/probed.rs")]
pub mod access;
mod stray;
mod task;
mod tcp;

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use tlsclose_common::{
    facts::state,
    layout::{FileRef, Layout},
};

pub use self::{
    stray::{Request, Stray},
    task::{Task, socket_of},
    tcp::{Hold, Sequences, Tcp},
};

#[unsafe(no_mangle)]
static LAYOUT: Layout = Layout::UNRESOLVED;
#[unsafe(no_mangle)]
static FILE_REF: FileRef = FileRef::UNRESOLVED;

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
