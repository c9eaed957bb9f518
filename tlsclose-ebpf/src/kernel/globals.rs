//! What the agent sets at load: where fields are in this kernel, and what may be read.

use tlsclose_common::layout::{FileRef, Layout};

#[unsafe(no_mangle)]
pub(super) static LAYOUT: Layout = Layout::UNRESOLVED;
#[unsafe(no_mangle)]
pub(super) static FILE_REF: FileRef = FileRef::UNRESOLVED;
/// 0 where programs must not call `bpf_probe_read_kernel`.
#[unsafe(no_mangle)]
pub(super) static BY_ADDRESS: u32 = 1;

/// Reads a read-only global that the agent set at load.
macro_rules! global {
    ($place:expr) => {
        // SAFETY: a static of this program; volatile, because its compiled-in value is not the one that runs.
        unsafe { core::ptr::read_volatile(&raw const $place) }
    };
}
pub(crate) use global;
