//! Facts as maps hold them: plain bytes on both sides.
//!
//! That they are plain, without padding and with a value for every bit pattern, bytemuck's derive proves in
//! tlsclose-common.

use bytemuck::{AnyBitPattern, Pod};

/// A fact in a map. aya's `Pod` and the facts are both foreign here, hence the wrapper.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Fact<T>(pub T);

// SAFETY: transparent, so as plain as `T`, of which bytemuck's `Pod` says that it may be seen as bytes and made of any.
unsafe impl<T: Pod> aya::Pod for Fact<T> {}

/// Reads a fact out of bytes that the kernel wrote, whatever their alignment.
pub fn read<T: AnyBitPattern>(bytes: &[u8]) -> Option<T> {
    bytes.get(..size_of::<T>()).map(bytemuck::pod_read_unaligned)
}

/// As [`read`], of a record that was sent without the end of its last field: that is zero.
pub fn read_short<T: Pod>(bytes: &[u8]) -> Option<Box<T>> {
    let mut record = Box::new(T::zeroed());
    bytemuck::bytes_of_mut(&mut *record).get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(record)
}
