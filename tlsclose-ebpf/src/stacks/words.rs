//! Words of stacks, and their hash.

use core::ffi::c_void;

use crate::kernel::read_user;

/// Stores through memory, so that the verifier does not carry one state per loop exit onwards.
#[inline(always)]
pub fn put<T>(place: &mut T, value: T) {
    // SAFETY: a valid, aligned reference.
    unsafe { core::ptr::write_volatile(place, value) };
}

#[inline(always)]
pub fn user_word(address: u64) -> u64 {
    let mut word = 0u64;
    // SAFETY: the helper checks the address, and zeroes the word on a fault.
    unsafe { read_user::<8>((&raw mut word).cast(), address as *const c_void) };
    word
}

/// One round of a 64-bit mixer (the finaliser of splitmix64, shortened): good enough that two
/// stacks share a key once in 2^64 / n^2.
#[inline(always)]
pub fn mix(hash: u64, word: u64) -> u64 {
    let x = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^ (x >> 29)
}
