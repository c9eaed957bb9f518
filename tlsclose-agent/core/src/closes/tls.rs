//! How many TLS connections ended in which way, by program and by the code path that closed them.
//!
//! Every close is counted for its program's site `unsampled`; those whose stack was sampled move
//! to the site of that stack. So the closes of all sites add up to the closes of all programs.

use std::collections::BTreeMap;

use tlsclose_common::facts::tls_close;

use super::tls_outcome::outcomes;
use crate::{
    closes::rate::Recent,
    model::{
        Moment, ProcessId, TlsOutcome, TlsOutcomes, Touch, Workload,
        series_limit::{Limits, OTHER, RETENTION, SeriesLimit, UNSAMPLED},
    },
};

/// Processes remembered for one site; the one with the fewest closes goes.
const PROCESSES: usize = 64;

/// Closes of one process about which the same is known.
#[derive(Clone, Debug)]
pub struct Close {
    /// The process that closed them.
    pub process: ProcessId,
    /// Of that process.
    pub identity: Workload,
    /// Path of the program; empty where the process was gone too soon.
    pub exe: String,
    /// As in `TlsCloseKey::facts`.
    pub facts: u32,
    /// Connections since the kernel side was last asked.
    pub count: u64,
}

/// Closes whose stack is known.
#[derive(Clone, Debug)]
pub struct Sampled {
    /// What was counted, with how many of it this stack stands for.
    pub close: Close,
    /// Id of the site that the stack makes.
    pub site: String,
    /// The call that closed them.
    pub closed: Touch,
}

/// A code path of a program that closes TLS connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsSiteKey {
    /// Name of the program, as in [`Workload::comm`].
    pub comm: String,
    /// Label of the site: an id, `unsampled` or `~other`.
    pub site: String,
}

/// What is known of the TLS closes of one site, since the agent started.
#[derive(Clone, Debug, Default)]
pub struct TlsRecord {
    /// Path of the program; empty where no process of it lived long enough.
    pub exe: String,
    /// How our direction ended.
    pub outcomes: TlsOutcomes,
    /// Truncated after the peer had hung up.
    pub peer_first: u64,
    /// Truncated because the process ended.
    pub process_exit: u64,
    /// Truncated right after data that the program had sent.
    pub after_data: u64,
    /// The call that closed them; None where no stack was sampled.
    pub closed: Option<Touch>,
    /// All closes, and truncated ones, of each process.
    pub processes: BTreeMap<ProcessId, (u64, u64)>,
    /// Truncated ones.
    recent: Recent,
    alive_at: Moment,
}

/// TLS closes of one workload.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsProgram {
    /// As exported, so after the limit of series.
    pub identity: Workload,
    /// How our direction ended, and how the peer's did.
    pub local: TlsOutcomes,
    /// How the peer's direction ended.
    pub remote: TlsOutcomes,
    /// Closes that truncated right after data that the program had sent.
    pub after_data: u64,
}

/// The series of one program.
#[derive(Clone, Debug, Default)]
struct Program {
    local: TlsOutcomes,
    remote: TlsOutcomes,
    after_data: u64,
}

/// The books.
pub struct TlsAccounts {
    limits: Limits,
    programs: SeriesLimit,
    series: BTreeMap<Workload, Program>,
    /// Every site, at most [`Limits::sites`] beside `~other`.
    pub sites: BTreeMap<TlsSiteKey, TlsRecord>,
    started: Option<Moment>,
}

impl TlsAccounts {
    /// No books yet; `limits` bounds the programs that are told apart, and the sites.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            programs: SeriesLimit::new(limits.programs),
            series: BTreeMap::new(),
            sites: BTreeMap::new(),
            started: None,
        }
    }

    /// The accounts begin; rates are taken over no more than the time since.
    pub fn begin(&mut self, now: Moment) {
        self.started.get_or_insert(now);
    }

    /// Books closes that were counted since the last time.
    pub fn book(&mut self, close: &Close, now: Moment) {
        let Some([local, remote]) = outcomes(close.facts) else { return };
        let label = self.programs.label(&close.identity, now);
        let program = self.series.entry(label).or_default();
        *program.local.of_mut(local) += close.count;
        *program.remote.of_mut(remote) += close.count;
        program.after_data += close.after_data(local);
        let record = self.record(close, UNSAMPLED);
        record.add(close, local, now);
    }

    /// Moves sampled closes to the site of their stack; gives back how many had not been booked
    /// yet, to be tried again.
    pub fn sampled(&mut self, sampled: &Sampled, now: Moment) -> u64 {
        let Some([local, _]) = outcomes(sampled.close.facts) else { return 0 };
        let taken = self.record(&sampled.close, UNSAMPLED).take(&sampled.close, local);
        let moved = Close { count: taken, ..sampled.close.clone() };
        if taken > 0 {
            let record = self.record(&moved, &sampled.site);
            record.add(&moved, local, now);
            record.closed.get_or_insert_with(|| sampled.closed.clone());
        }
        sampled.close.count - taken
    }

    /// A process of the program is alive.
    pub fn mark_alive(&mut self, identity: &Workload, now: Moment) {
        self.programs.mark_alive(identity, now);
    }

    /// What metrics show: a program's series are all there once one of them is.
    pub fn exported(&self) -> Vec<TlsProgram> {
        let exported = self.series.iter().map(|(identity, program)| TlsProgram {
            identity: identity.clone(),
            local: program.local,
            remote: program.remote,
            after_data: program.after_data,
        });
        exported.collect()
    }

    /// Truncated closes per minute, over the last five.
    pub fn per_minute(&self, record: &TlsRecord, now: Moment) -> f64 {
        record.recent.per_minute(self.started, now)
    }

    /// Forgets which dead processes closed; and all about programs without processes, after a while.
    pub fn forget(&mut self, now: Moment, mut is_alive: impl FnMut(ProcessId) -> bool) {
        for record in self.sites.values_mut() {
            record.processes.retain(|process, _| is_alive(*process));
            if !record.processes.is_empty() {
                record.alive_at = now;
            }
        }
        let is_recent = |alive_at: Moment| now.since(alive_at) < RETENTION;
        self.sites.retain(|key, record| key.comm == OTHER || is_recent(record.alive_at));
        self.programs.forget(now);
        self.series.retain(|label, _| self.programs.has(label));
    }

    fn record(&mut self, close: &Close, site: &str) -> &mut TlsRecord {
        let mut key = TlsSiteKey { comm: close.identity.comm.clone(), site: site.to_owned() };
        if !self.sites.contains_key(&key) && self.sites.len() >= self.limits.sites {
            key = TlsSiteKey { comm: OTHER.to_owned(), site: OTHER.to_owned() };
        }
        let record = self.sites.entry(key).or_default();
        if record.exe.is_empty() {
            record.exe.clone_from(&close.exe);
        }
        record
    }
}

impl Close {
    /// How many of these truncated after the peer had hung up.
    fn peer_first(&self, local: TlsOutcome) -> u64 {
        self.truncated_as(local, tls_close::PEER_FIRST)
    }

    /// How many of these truncated right after data that the program had sent.
    fn after_data(&self, local: TlsOutcome) -> u64 {
        self.truncated_as(local, tls_close::SENT_LAST)
    }

    fn truncated_as(&self, local: TlsOutcome, fact: u32) -> u64 {
        if local == TlsOutcome::Truncated && self.facts & fact != 0 { self.count } else { 0 }
    }
}

impl TlsRecord {
    /// Its processes, with how many connections each closed, and truncated; the busiest first.
    pub fn busiest(&self) -> impl Iterator<Item = (ProcessId, (u64, u64))> {
        let mut processes: Vec<_> = self.processes.iter().map(|(process, closes)| (*process, *closes)).collect();
        processes.retain(|(_, (closes, _))| *closes > 0);
        processes.sort_by_key(|(_, closes)| std::cmp::Reverse(*closes));
        processes.into_iter()
    }

    fn add(&mut self, close: &Close, outcome: TlsOutcome, now: Moment) {
        *self.outcomes.of_mut(outcome) += close.count;
        self.alive_at = now;
        let truncated = if outcome == TlsOutcome::Truncated { close.count } else { 0 };
        if close.facts & tls_close::BY_EXIT != 0 {
            self.process_exit += truncated;
        }
        self.after_data += close.after_data(outcome);
        self.peer_first += close.peer_first(outcome);
        if self.processes.len() >= PROCESSES
            && !self.processes.contains_key(&close.process)
            && let Some(least) = self.processes.iter().min_by_key(|(_, closes)| closes.0).map(|(process, _)| *process)
        {
            self.processes.remove(&least);
        }
        let process = self.processes.entry(close.process).or_default();
        process.0 += close.count;
        process.1 += truncated;
        if truncated > 0 {
            self.recent.add(truncated, now);
        }
    }

    /// Takes out what is there of these closes; how many that were.
    fn take(&mut self, close: &Close, outcome: TlsOutcome) -> u64 {
        let there = self.outcomes.of_mut(outcome);
        let taken = close.count.min(*there);
        *there -= taken;
        self.after_data = self.after_data.saturating_sub(close.after_data(outcome).min(taken));
        self.peer_first = self.peer_first.saturating_sub(close.peer_first(outcome).min(taken));
        let truncated = if outcome == TlsOutcome::Truncated { taken } else { 0 };
        if let Some(process) = self.processes.get_mut(&close.process) {
            process.0 = process.0.saturating_sub(taken);
            process.1 = process.1.saturating_sub(truncated);
        }
        self.recent.take(truncated);
        taken
    }
}

#[cfg(test)]
mod tests;
