//! Closes of TLS connections, as the kernel side counts them, and whether there are any.

use std::time::Duration;

use tlsclose_common::facts::{Comm, TlsCloseKey, TlsStackKey};

use super::{features::Feature, load::Kernel, pod::Fact};
use crate::{clock::Moment, tracker::ProcessKey};

/// How long TLS is watched for when none is left: what a program sends before the hook at sends is
/// there is unknown, so not every rare connection should be the first.
const STAYS: Duration = Duration::from_secs(15 * 60);

pub(super) const RECORDS: &str = "TLS records";
/// What records are followed at.
const NEEDED: [&str; 2] = ["sock_recv_length", "sock_send_length"];

/// Whether TLS can be followed where these hooks are, or are not.
pub(super) fn feature(hooks: &[Feature]) -> Feature {
    let is_there = |name| hooks.iter().any(|it| it.hook.attach_point == name && it.available);
    match NEEDED.into_iter().find(|name| !is_there(*name)) {
        Some(name) => Feature::missing(RECORDS, &format!("without {name}")),
        None => Feature { probe: format!("{RECORDS}: loaded"), ..Feature::attached(RECORDS) },
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

impl Kernel {
    /// TLS has been recognised, and not so long ago that none is left: reads and sends are followed.
    pub fn is_tls_watched(&self) -> bool {
        self.tls_seen.get(&0, 0).is_ok_and(|seen| seen != 0)
    }

    /// Stops to watch for TLS when there has been none for long and no connection is left. Those
    /// whose process is gone are not, whatever became of their ends.
    pub fn tidy_tls(&mut self, now: Moment, mut is_alive: impl FnMut(ProcessKey) -> bool) {
        let Ok(seen) = self.tls_seen.get(&0, 0) else { return };
        if seen == 0 || now.since(Moment(seen)) < STAYS {
            return;
        }
        let sockets: Vec<u64> = self.tls_sockets.keys().filter_map(Result::ok).collect();
        let mut left = 0;
        for socket in sockets {
            let Ok(Fact(entry)) = self.tls_sockets.get(&socket, 0) else { continue };
            if entry.tgid != 0 && is_alive(ProcessKey { tgid: entry.tgid, started_at: entry.started_at }) {
                left += 1;
            } else {
                // Fails only when the socket went meanwhile.
                let _ = self.tls_sockets.remove(&socket);
            }
        }
        if left > 0 {
            return;
        }
        self.set_tls_seen(0);
        // The kernel side puts an entry in first and then looks at the time, so one of the two sees the other.
        if self.tls_sockets.keys().next().is_some() {
            self.set_tls_seen(now.0);
        }
    }

    fn set_tls_seen(&mut self, at: u64) {
        if let Err(error) = self.tls_seen.set(0, at, 0) {
            log::warn!("cannot say since when there is no TLS: {error}");
        }
    }

    pub fn tls_closes(&self) -> Vec<TlsCount> {
        let keys = self.tls_closes.keys().filter_map(Result::ok);
        keys.filter_map(|key| {
            let values = self.tls_closes.get(&key, 0).ok()?;
            let count = values.iter().map(|Fact(value)| value.count).sum();
            let comm = values.iter().map(|Fact(value)| value.comm).find(|comm| !comm.is_empty()).unwrap_or_default();
            Some(TlsCount { key: key.0, count, comm })
        })
        .collect()
    }

    /// The process has ended and will close nothing more.
    pub fn forget_tls_closes(&mut self, key: TlsCloseKey) {
        // Fails only when there is nothing to remove.
        let _ = self.tls_closes.remove(&Fact(key));
    }

    /// Sampled closes since this was called last. What is counted between the look and the
    /// removal is lost, like all that was not sampled.
    pub fn take_tls_stacks(&mut self) -> Vec<(TlsStackKey, u64)> {
        let keys: Vec<Fact<TlsStackKey>> = self.tls_stacks.keys().filter_map(Result::ok).collect();
        let mut taken = Vec::with_capacity(keys.len());
        for key in keys {
            let Ok(count) = self.tls_stacks.get(&key, 0) else { continue };
            // Fails only when the entry was recycled meanwhile.
            let _ = self.tls_stacks.remove(&key);
            taken.push((key.0, count));
        }
        taken
    }
}
