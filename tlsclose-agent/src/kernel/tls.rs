//! Closes of TLS connections, as the kernel side counts them, and whether there are any.

use std::time::Duration;

use aya::maps::{Array, HashMap, MapData, PerCpuHashMap};
use tlsclose_common::facts::{Comm, TlsCloseKey, TlsCloses, TlsSocket, TlsStackKey};

use super::{
    attach::Programs,
    counted,
    features::{ProbedFeature, is_available},
    hook::Hook,
    load_error::LoadError,
    pod::Fact,
};
use tlsclose_core::model::{Moment, ProcessId};

/// How long TLS is watched for when none is left: what a program sends before the hook at sends is
/// there is unknown, so not every rare connection should be the first.
const STAYS: Duration = Duration::from_secs(15 * 60);

/// What records are followed at.
const NEEDED: [Hook; 2] = [Hook::Reads, Hook::Sends];

/// Whether TLS can be followed where these hooks are, or are not.
pub(super) fn feature(hooks: &[ProbedFeature]) -> ProbedFeature {
    match NEEDED.into_iter().find(|hook| !is_available(hooks, *hook)) {
        Some(hook) => ProbedFeature::missing(Hook::TlsRecords, &format!("without {}", hook.attach_point())),
        None => ProbedFeature::works(Hook::TlsRecords, "loaded"),
    }
}

/// Closes of one process about which the same is known, since the programs were loaded.
#[derive(Clone, Copy, Debug)]
pub struct TlsCount {
    pub key: TlsCloseKey,
    pub count: u64,
    /// Name of the process when it first closed so; empty when not known.
    pub comm: Comm,
}

pub struct Tls {
    seen: Array<MapData, u64>,
    sockets: HashMap<MapData, u64, Fact<TlsSocket>>,
    closes: PerCpuHashMap<MapData, Fact<TlsCloseKey>, Fact<TlsCloses>>,
    stacks: HashMap<MapData, Fact<TlsStackKey>, u64>,
}

impl Tls {
    pub(super) fn of(programs: &mut Programs) -> Result<Self, LoadError> {
        Ok(Self {
            seen: programs.map("TLS_SEEN")?,
            sockets: programs.map("TLS_SOCKETS")?,
            closes: programs.map("TLS_CLOSES")?,
            stacks: programs.map("TLS_STACKS")?,
        })
    }

    /// TLS has been recognised, and not so long ago that none is left: reads and sends are followed.
    pub(super) fn is_watched(&self) -> bool {
        self.seen.get(&0, 0).is_ok_and(|seen| seen != 0)
    }

    /// Stops to watch for TLS when there has been none for long and no connection is left. Those
    /// whose process is gone are not, whatever became of their ends.
    pub fn tidy(&mut self, now: Moment, mut is_alive: impl FnMut(ProcessId) -> bool) {
        let Ok(seen) = self.seen.get(&0, 0) else { return };
        if seen == 0 || now.since(Moment(seen)) < STAYS {
            return;
        }
        let sockets: Vec<u64> = self.sockets.keys().filter_map(Result::ok).collect();
        let mut left = 0;
        for socket in sockets {
            let Ok(Fact(entry)) = self.sockets.get(&socket, 0) else { continue };
            if entry.tgid != 0 && is_alive(ProcessId { tgid: entry.tgid, started_at: entry.started_at }) {
                left += 1;
            } else {
                // Fails only when the socket went meanwhile.
                let _ = self.sockets.remove(&socket);
            }
        }
        if left > 0 {
            return;
        }
        self.set_seen(0);
        // The kernel side puts an entry in first and then looks at the time, so one of the two sees the other.
        if self.sockets.keys().next().is_some() {
            self.set_seen(now.0);
        }
    }

    fn set_seen(&mut self, at: u64) {
        if let Err(error) = self.seen.set(0, at, 0) {
            log::warn!("cannot say since when there is no TLS: {error}");
        }
    }

    pub fn closes(&self) -> Vec<TlsCount> {
        let parts = |counted: &TlsCloses| (counted.count, counted.comm);
        counted::sums(&self.closes, parts, |key, count, comm| TlsCount { key, count, comm })
    }

    /// The process has ended and will close nothing more.
    pub fn forget(&mut self, key: TlsCloseKey) {
        // Fails only when there is nothing to remove.
        let _ = self.closes.remove(&Fact(key));
    }

    /// Sampled closes since this was called last.
    pub fn take_stacks(&mut self) -> Vec<(TlsStackKey, u64)> {
        counted::take(&mut self.stacks)
    }
}
