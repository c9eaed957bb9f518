//! Looks for threads that spin around connections that are over.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread::sleep,
    time::Duration,
};

use super::spinning_now::SpinningNow;
use crate::{
    api::Spinning,
    attribution::process::{epoll_targets, thread_cpu},
    watch::Watch,
};
use tlsclose_core::{
    leaks::{
        sites::SiteKey,
        spins::{Spin, polls_per_second},
    },
    model::{Kind, ProcessId, Thread},
};

/// How long suspects are looked at. Reads, sends and polls of everybody are a little slower meanwhile.
const LOOK: Duration = Duration::from_millis(100);
/// Processes whose threads are looked through after one census.
const PROCESSES: usize = 64;

impl Watch {
    pub(super) fn look_for_spins(&mut self) {
        self.measure_threads();
        self.look_at_suspects();
        self.spinning = self.spinning_now();
    }

    /// How busy the threads are that could spin without a call on their socket.
    fn measure_threads(&mut self) {
        let unread = self.sites.sites.iter().filter(|(key, _)| key.kind == Kind::CloseWaitUnread);
        let holders: BTreeSet<ProcessId> =
            unread.flat_map(|(_, record)| record.processes.keys().copied()).filter(|it| it.is_known()).collect();
        self.spins.unkept += holders.len().saturating_sub(PROCESSES) as u64;
        for process in holders.into_iter().take(PROCESSES) {
            for (tid, wanted) in thread_cpu::of_threads(&self.attribution.procfs, process) {
                self.spins.wanted(Thread { process, tid }, wanted);
            }
        }
    }

    fn look_at_suspects(&mut self) {
        let suspects = self.spins.suspects();
        if suspects.is_empty() {
            return;
        }
        let tids: Vec<u32> = suspects.iter().map(|thread| thread.tid).collect();
        let Some(seen) = self.kernel.watch_calls(&tids, || sleep(LOOK)) else { return };
        // Their stacks.
        self.drain();
        for (tid, seen) in seen {
            let Some(thread) = suspects.iter().find(|thread| thread.tid == tid) else { continue };
            let spins = polls_per_second(&seen, LOOK).is_some();
            let watched = || epoll_targets::watched(&self.attribution.procfs, thread.process, seen.epoll);
            let fds = if spins { watched() } else { BTreeSet::default() };
            self.spins.judge(*thread, &seen, LOOK, fds);
        }
    }

    fn spinning_now(&mut self) -> SpinningNow {
        let series = self.sites.series.iter().filter(|(_, series)| series.now.lingering > 0);
        let mut now = SpinningNow {
            sites: BTreeMap::new(),
            sockets: series.map(|((identity, ..), _)| (identity.clone(), 0)).collect(),
        };
        if self.spins.is_quiet() {
            return now;
        }
        let mut fastest: BTreeMap<SiteKey, (Spin, u64, ProcessId)> = BTreeMap::new();
        for socket in self.tracker.sockets() {
            let Some(spin) = self.spins.around(socket) else { continue };
            let Some((site, identity)) = self.sites.home(&socket.group) else { continue };
            *now.sockets.entry(identity.clone()).or_default() += 1;
            let known = fastest.get(site).map_or(0.0, |(known, ..)| known.per_second());
            if spin.per_second() > known {
                fastest.insert(site.clone(), (spin, socket.last.sk, socket.first_holder.process));
            }
        }
        for (site, (spin, sk, holder)) in fastest {
            now.sites.insert(site, self.described(spin, sk, holder));
        }
        now
    }

    fn described(&mut self, spin: Spin, sk: u64, holder: ProcessId) -> Spinning {
        let (pid, tid, call, stack) = match spin {
            Spin::Polls { thread, stack, .. } => (thread.process.tgid, Some(thread.tid), "epoll_wait", stack),
            Spin::Reads(_) => {
                let reader = self.kernel.spins.at_end(sk);
                let tgid = reader.map_or(holder.tgid, |it| it.tgid);
                (tgid, reader.map(|it| it.tid), "read", reader.map_or(0, |it| it.stack))
            }
        };
        Spinning {
            pid,
            tid,
            call: call.to_owned(),
            per_second: spin.per_second().round(),
            stack: self.attribution.stack_of(stack),
        }
    }
}
