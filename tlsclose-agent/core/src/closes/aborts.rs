//! How many connections ended by a reset or an error, by program, cause and the code path that
//! closed them. Pure.
//!
//! Each is counted for its program's site `unsampled` first; those whose stack was sampled move to
//! the site of that stack. So the sites add up to the series.

use std::collections::BTreeMap;

use crate::{
    closes::rate::Recent,
    model::{
        AbortCause, Moment, ProcessId, Touch, Workload,
        series_limit::{Limits, OTHER, RETENTION, SeriesLimit, UNSAMPLED},
    },
};

/// Processes remembered for one site; the one with the fewest goes.
const PROCESSES: usize = 64;

/// Connections of one process that ended the same way.
#[derive(Clone, Debug)]
pub struct Aborted {
    /// Nobody's where the connection had been closed before, or the closer is not known.
    pub process: ProcessId,
    /// Of the program that closed them; of nobody where nobody is known.
    pub identity: Workload,
    /// Path of the program; empty where the process was gone too soon.
    pub exe: String,
    /// What ended them.
    pub cause: AbortCause,
    /// Connections since the kernel side was last asked.
    pub count: u64,
}

/// Connections of a workload that ended so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbortSeries {
    /// As exported, so after the limit of series.
    pub identity: Workload,
    /// What ended them.
    pub cause: AbortCause,
    /// Connections since the agent started.
    pub total: u64,
}

/// A code path of a program. Nobody's comm is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AbortSiteKey {
    /// Name of the program, as in [`Workload::comm`].
    pub comm: String,
    /// Label of the site: an id, `unsampled` or `~other`.
    pub site: String,
}

/// What is known of the aborts of one site.
#[derive(Clone, Debug, Default)]
pub struct AbortRecord {
    /// Path of the program; empty where no process of it lived long enough.
    pub exe: String,
    /// Connections since the agent started, by what ended them.
    pub causes: BTreeMap<AbortCause, u64>,
    /// The call that closed them; None where no stack was sampled.
    pub closed: Option<Touch>,
    /// Connections of each living process, of at most 64.
    pub processes: BTreeMap<ProcessId, u64>,
    recent: Recent,
    alive_at: Moment,
}

/// The books.
pub struct AbortAccounts {
    limits: Limits,
    programs: SeriesLimit,
    series: BTreeMap<(Workload, AbortCause), u64>,
    /// Every site, at most [`Limits::sites`] beside `~other`.
    pub sites: BTreeMap<AbortSiteKey, AbortRecord>,
    started: Option<Moment>,
}

impl AbortAccounts {
    /// No books yet; `limits` bounds the programs that are told apart, and the sites.
    pub fn new(limits: Limits) -> Self {
        let programs = SeriesLimit::new(limits.series / AbortCause::all().len());
        Self { limits, programs, series: BTreeMap::new(), sites: BTreeMap::new(), started: None }
    }

    /// The accounts begin; rates are taken over no more than the time since.
    pub fn begin(&mut self, now: Moment) {
        self.started.get_or_insert(now);
    }

    /// Books what was counted since the last time.
    pub fn book(&mut self, aborted: &Aborted, now: Moment) {
        let label = self.programs.label(&aborted.identity, now);
        // A program's series are all there once one of them is.
        for cause in AbortCause::all() {
            let count = if cause == aborted.cause { aborted.count } else { 0 };
            *self.series.entry((label.clone(), cause)).or_default() += count;
        }
        self.record(aborted, UNSAMPLED).add(aborted, now);
    }

    /// Moves sampled ones to the site of their stack; gives back how many had not been booked yet,
    /// to be tried again.
    pub fn sampled(&mut self, aborted: &Aborted, site: &str, closed: &Touch, now: Moment) -> u64 {
        let taken = self.record(aborted, UNSAMPLED).take(aborted);
        if taken > 0 {
            let record = self.record(aborted, site);
            record.add(&Aborted { count: taken, ..aborted.clone() }, now);
            record.closed.get_or_insert_with(|| closed.clone());
        }
        aborted.count - taken
    }

    /// What metrics show.
    pub fn exported(&self) -> Vec<AbortSeries> {
        let series = self.series.iter();
        series
            .map(|((identity, cause), total)| AbortSeries { identity: identity.clone(), cause: *cause, total: *total })
            .collect()
    }

    /// How many per minute, over the last five.
    pub fn per_minute(&self, record: &AbortRecord, now: Moment) -> f64 {
        record.recent.per_minute(self.started, now)
    }

    /// A process of the program is alive, or it is nobody.
    pub fn mark_alive(&mut self, identity: &Workload, now: Moment) {
        self.programs.mark_alive(identity, now);
    }

    /// Forgets which dead processes closed; and all about programs without processes, after a while.
    pub fn forget(&mut self, now: Moment, mut is_alive: impl FnMut(ProcessId) -> bool) {
        for (key, record) in &mut self.sites {
            record.processes.retain(|process, _| is_alive(*process));
            // Nobody has no processes, and is always there.
            if !record.processes.is_empty() || key.comm.is_empty() {
                record.alive_at = now;
            }
        }
        self.sites.retain(|key, record| key.comm == OTHER || now.since(record.alive_at) < RETENTION);
        self.programs.forget(now);
        self.series.retain(|(label, _), _| self.programs.has(label));
    }

    fn record(&mut self, aborted: &Aborted, site: &str) -> &mut AbortRecord {
        let mut key = AbortSiteKey { comm: aborted.identity.comm.clone(), site: site.to_owned() };
        if !self.sites.contains_key(&key) && self.sites.len() >= self.limits.sites {
            key = AbortSiteKey { comm: OTHER.to_owned(), site: OTHER.to_owned() };
        }
        let record = self.sites.entry(key).or_default();
        if record.exe.is_empty() {
            record.exe.clone_from(&aborted.exe);
        }
        record
    }
}

impl AbortRecord {
    /// Connections since the agent started, whatever ended them.
    pub fn total(&self) -> u64 {
        self.causes.values().sum()
    }

    /// Its processes, with how many connections each aborted; the busiest first.
    pub fn busiest(&self) -> impl Iterator<Item = (ProcessId, u64)> {
        let mut processes: Vec<_> = self.processes.iter().map(|(process, count)| (*process, *count)).collect();
        processes.retain(|(_, count)| *count > 0);
        processes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        processes.into_iter()
    }

    fn add(&mut self, aborted: &Aborted, now: Moment) {
        *self.causes.entry(aborted.cause).or_default() += aborted.count;
        self.alive_at = now;
        if aborted.process.is_known() {
            self.add_process(aborted);
        }
        self.recent.add(aborted.count, now);
    }

    fn add_process(&mut self, aborted: &Aborted) {
        if self.processes.len() >= PROCESSES
            && !self.processes.contains_key(&aborted.process)
            && let Some(least) = self.processes.iter().min_by_key(|(_, count)| **count).map(|(process, _)| *process)
        {
            self.processes.remove(&least);
        }
        *self.processes.entry(aborted.process).or_default() += aborted.count;
    }

    /// Takes out what is there of these; how many that were.
    fn take(&mut self, aborted: &Aborted) -> u64 {
        let Some(there) = self.causes.get_mut(&aborted.cause) else { return 0 };
        let taken = aborted.count.min(*there);
        *there -= taken;
        if let Some(process) = self.processes.get_mut(&aborted.process) {
            *process = process.saturating_sub(taken);
        }
        self.recent.take(taken);
        taken
    }
}

#[cfg(test)]
mod tests;
