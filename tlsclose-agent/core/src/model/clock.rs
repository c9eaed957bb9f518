//! Moments and spans, as types. Time comes into the pure core as data.

use std::time::Duration;

/// A moment of CLOCK_MONOTONIC, in nanoseconds: what `bpf_ktime_get_ns()` returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// Time since `earlier`; zero if that lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// As long ago as `span`; the beginning of time at the earliest.
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span.as_nanos() as u64))
    }
}

/// What the kernel's own time stamps mean.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ticks {
    /// Jiffies now.
    pub jiffies: u64,
    /// How many make a second; 0 while it is not known.
    pub per_second: u64,
}

/// The kernel's tick rate, found by looking at jiffies and clock twice.
///
/// It is a build-time constant (CONFIG_HZ) that no interface tells.
pub fn ticks_per_second(earlier: (u64, Moment), later: (u64, Moment)) -> Option<u64> {
    let span = later.1.since(earlier.1).as_secs_f64();
    if span < 0.1 {
        return None;
    }
    let measured = later.0.checked_sub(earlier.0)? as f64 / span;
    let distance = |hz: &u64| (measured / *hz as f64).ln().abs();
    [100u64, 250, 300, 1000].into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tick_rates_are_told_apart_in_spite_of_rounding() {
        let at = |jiffies, milliseconds: u64| (jiffies, Moment(milliseconds * 1_000_000));
        for (ticks, milliseconds, hz) in [
            (20, 200, 100),
            (21, 200, 100),
            (50, 200, 250),
            (51, 200, 250),
            (60, 200, 300),
            (59, 200, 300),
            (201, 200, 1000),
        ] {
            assert_eq!(ticks_per_second(at(0, 0), at(ticks, milliseconds)), Some(hz), "{ticks} in {milliseconds} ms");
        }
        assert_eq!(ticks_per_second(at(0, 0), at(5, 50)), None, "too short to tell");
    }
}
