//! Who last used a socket of which no descriptor table shows a holder.

use rustix::time::{ClockId, clock_gettime};
use tlsclose_common::facts::{Holder, holder};

use super::process::{ProcessId, Procfs};

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
            // A process that is alive now, and was before it happened, is the one that did it.
            if started_at + TICK <= at + self.offset && procfs.is_alive(ProcessId { tgid, started_at }) {
                (filled.tgid, filled.started_at) = (tgid, started_at);
                return filled;
            }
        }
        filled
    }
}
