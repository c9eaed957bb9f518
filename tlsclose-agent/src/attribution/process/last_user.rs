//! Who last used a socket of which no descriptor table shows a holder.

use rustix::time::{ClockId, clock_gettime};
use tlsclose_common::facts::{Holder, holder};

use super::procfs::Procfs;
use tlsclose_core::model::ProcessId;

/// Start times are rounded down to ticks of at most this many nanoseconds.
const TICK: u64 = 10_000_000;

/// Tells a process that did something from another that has its PID now.
pub struct LastUsers {
    /// CLOCK_BOOTTIME minus CLOCK_MONOTONIC when the agent started, in ns. It grows when the host is
    /// suspended, so this errs towards not knowing.
    offset: u64,
}

impl LastUsers {
    pub fn new() -> Self {
        let nanos = |clock| {
            let time = clock_gettime(clock);
            time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
        };
        let monotonic = nanos(ClockId::Monotonic);
        Self { offset: nanos(ClockId::Boottime).saturating_sub(monotonic) }
    }

    /// The record, with the process that last used the socket if that one is still alive.
    pub fn filled_in(&self, record: &Holder, procfs: &Procfs) -> Holder {
        let (half, origin) = (&record.half, &record.origin);
        let mut filled = *record;
        (filled.tgid, filled.started_at) = (0, 0);
        if record.flags & holder::CLOSED != 0 {
            let closer = ProcessId { tgid: record.tgid, started_at: record.started_at };
            if procfs.is_alive(closer) {
                (filled.tgid, filled.started_at) = (closer.tgid, closer.started_at);
                return filled;
            }
        }
        for (tgid, at) in [(half.tgid, half.touched_at), (origin.tgid, origin.opened_at)] {
            let Some(started_at) = procfs.started_at(tgid).filter(|_| tgid != 0 && at != 0) else { continue };
            if self.was_there(started_at, at) && procfs.is_alive(ProcessId { tgid, started_at }) {
                (filled.tgid, filled.started_at) = (tgid, started_at);
                return filled;
            }
        }
        filled
    }

    /// A process that was started (ns of CLOCK_BOOTTIME) before something happened (ns of CLOCK_MONOTONIC): if it is
    /// alive, too, it is the one that did it.
    fn was_there(&self, started_at: u64, at: u64) -> bool {
        started_at + TICK <= at + self.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// The host slept for 100 s before the agent started, and for 50 s since.
    #[test]
    fn after_a_suspend_a_process_may_become_unknown_and_never_a_wrong_one() {
        let users = LastUsers { offset: 100 * SECOND };
        let cases = [
            ("before the suspend, by one that was there", 1005, 910, true),
            ("before the suspend, by one that came later", 1011, 910, false),
            ("after the suspend, by one that was there long", 1005, 930, true),
            ("after the suspend, by one that came shortly before", 1075, 930, false),
            ("after the suspend, by one that came later", 1081, 930, false),
        ];
        for (what, started_at, at, expected) in cases {
            assert_eq!(users.was_there(started_at * SECOND, at * SECOND), expected, "{what}");
        }
        assert!(!users.was_there(1010 * SECOND, 910 * SECOND), "start times are rounded down to ticks");
    }
}
