//! Numbers as people want to read them.

use std::time::Duration;

/// Tenths of a second.
pub(super) fn seconds(span: Duration) -> f64 {
    tenths(span.as_secs_f64())
}

/// To one decimal.
pub(super) fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
