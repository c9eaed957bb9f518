//! The clock that the kernel side stamps by.

use rustix::time::{ClockId, clock_gettime};
use tlsclose_core::model::Moment;

/// Now, on CLOCK_MONOTONIC.
pub fn now() -> Moment {
    let now = clock_gettime(ClockId::Monotonic);
    Moment(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}
