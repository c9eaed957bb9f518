//! Reads of kernel memory: fields of structures by the offsets that the agent set at load, and words of which only
//! the address is known.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use tlsclose_common::facts::state;

use super::{
    access,
    globals::{BY_ADDRESS, FILE_REF, LAYOUT, global},
};

/// Loads a field of a kernel structure.
macro_rules! field {
    ($base:expr, $field:ident : $ty:ty) => {{
        let base: *const c_void = $base;
        crate::kernel::access::load::<$ty>(base, global!(LAYOUT.$field) as usize)
    }};
}
pub(super) use field;

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
pub(super) fn words(base: *const c_void, offset: u32) -> [u64; 2] {
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
pub(super) fn word_at(address: u64) -> u64 {
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
