//! How long sockets stay half-closed.

use bytemuck::{Pod, Zeroable};

/// How long sockets stayed in one state: counts by [`crate::limits::HALF_CLOSED_BUCKETS_MS`],
/// the last one without bound, and the sum in nanoseconds. Kept per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Durations {
    /// Sockets by how long they stayed, not cumulative.
    pub buckets: [u64; 11],
    /// In nanoseconds.
    pub sum: u64,
}
