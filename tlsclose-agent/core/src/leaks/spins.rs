//! Threads that spin around connections that are over. Pure.
//!
//! The plain kind reads a finished stream again and again: each read is counted. The other kind
//! never looks at the socket again, so it shows only as a thread that burns a core and calls
//! nothing but epoll_wait(), while the end of the stream is unread.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rustc_hash::FxHashMap;
use tlsclose_common::{
    facts::{Holder, Suspect},
    limits::{EOF_READS_OF_A_SPIN, SUSPECT_ENTRIES},
};

use crate::{
    leaks::tracker::Socket,
    model::{Kind, Moment, Thread},
};

/// Reads of a finished stream, or calls of epoll_wait(), per second: a loop that waits for
/// anything makes fewer.
const READS_PER_SECOND: f64 = 100.0;
const POLLS_PER_SECOND: f64 = 1000.0;
/// What a thread wants of a core, from which on it is suspect, and below which it spins no more.
const SHARE: f64 = 0.5;
const SHARE_LEFT: f64 = 0.25;
/// Of a spinning thread's system calls, this part may be something else.
const OTHERS: u64 = 100;
/// How long a thread that was looked at is left alone.
const REST: Duration = Duration::from_secs(30);
/// Streams and threads followed at once; the others are only counted.
const KEPT: usize = 4096;

/// What spins around a socket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spin {
    /// Reads of its finished stream per second.
    Reads(f64),
    /// A thread that polls without a pause, and never looks at the socket.
    Polls {
        /// Which one.
        thread: Thread,
        /// Its calls of epoll_wait() per second.
        per_second: f64,
        /// Key of the stack of one of the calls; 0 when none was taken.
        stack: u64,
    },
}

impl Spin {
    /// Reads or polls per second.
    pub fn per_second(&self) -> f64 {
        match self {
            Self::Reads(per_second) | Self::Polls { per_second, .. } => *per_second,
        }
    }
}

#[derive(Clone, Debug)]
struct Reads {
    remote: ([u8; 16], u16),
    /// Modulo 2^32.
    count: u32,
    at: Moment,
    census: u32,
    per_second: f64,
}

#[derive(Clone, Debug, Default)]
struct Demand {
    /// How long it has run, or waited for a core, since it began.
    wanted: Duration,
    at: Moment,
    census: u32,
    /// Of a core, between the last two looks.
    share: f64,
    looked_at: Option<Moment>,
    /// What it polls, if it spins.
    polls: Option<Polls>,
}

#[derive(Clone, Debug)]
struct Polls {
    per_second: f64,
    stack: u64,
    fds: BTreeSet<u32>,
}

/// All that spins, and all that may.
#[derive(Debug, Default)]
pub struct Spins {
    now: Moment,
    census: u32,
    reads: FxHashMap<u64, Reads>,
    threads: BTreeMap<Thread, Demand>,
    /// Streams and threads that did not fit.
    pub unkept: u64,
}

impl Spins {
    /// Starts a census. What the last two have not shown is forgotten.
    pub fn begin(&mut self, now: Moment) {
        self.now = now;
        let recent = self.census;
        self.reads.retain(|_, reads| reads.census >= recent);
        self.threads.retain(|_, demand| demand.census >= recent);
        self.census += 1;
    }

    /// Takes in one record, if its finished stream has been read many times.
    pub fn observe(&mut self, record: &Holder) {
        let count = record.half.eof_reads;
        if count < EOF_READS_OF_A_SPIN {
            return;
        }
        let fresh = Reads {
            remote: (record.remote, record.remote_port),
            count,
            at: self.now,
            census: self.census,
            per_second: 0.0,
        };
        let full = self.reads.len() >= KEPT;
        let Some(known) = self.reads.get_mut(&record.sk) else {
            if full {
                self.unkept += 1;
            } else {
                self.reads.insert(record.sk, fresh);
            }
            return;
        };
        if known.census == self.census {
            // Another descriptor of the same socket.
            return;
        }
        let elapsed = self.now.since(known.at).as_secs_f64();
        if known.remote == fresh.remote && elapsed > 0.0 {
            let per_second = f64::from(count.wrapping_sub(known.count)) / elapsed;
            *known = Reads { per_second, ..fresh };
        } else {
            *known = fresh;
        }
    }

    /// Takes in how long a thread has run, or waited for a core, since it began.
    pub fn wanted(&mut self, thread: Thread, wanted: Duration) {
        let full = self.threads.len() >= KEPT;
        let Some(known) = self.threads.get_mut(&thread) else {
            if full {
                self.unkept += 1;
            } else {
                let first = Demand { wanted, at: self.now, census: self.census, ..Demand::default() };
                self.threads.insert(thread, first);
            }
            return;
        };
        let elapsed = self.now.since(known.at).as_secs_f64();
        if elapsed > 0.0 {
            known.share = wanted.saturating_sub(known.wanted).as_secs_f64() / elapsed;
        }
        (known.wanted, known.at, known.census) = (wanted, self.now, self.census);
        if known.share < SHARE_LEFT && known.polls.take().is_some() {
            known.looked_at = None;
        }
    }

    /// Threads that burn a core, and have not been looked at for a while.
    pub fn suspects(&self) -> Vec<Thread> {
        let rested = |demand: &Demand| demand.looked_at.is_none_or(|at| self.now.since(at) >= REST);
        let suspects = self.threads.iter().filter(|(_, demand)| demand.share >= SHARE && rested(demand));
        suspects.map(|(thread, _)| *thread).take(SUSPECT_ENTRIES as usize).collect()
    }

    /// Takes in what a suspect called in this time, and which descriptors its epoll watches.
    pub fn judge(&mut self, thread: Thread, seen: &Suspect, took: Duration, fds: BTreeSet<u32>) {
        let Some(demand) = self.threads.get_mut(&thread) else { return };
        demand.looked_at = Some(self.now);
        let per_second = polls_per_second(seen, took);
        demand.polls = per_second.map(|per_second| Polls { per_second, stack: seen.stack, fds });
    }

    /// Nothing spins: there is no need to look at sockets.
    pub fn is_quiet(&self) -> bool {
        self.reads.values().all(|reads| reads.per_second < READS_PER_SECOND)
            && self.threads.values().all(|demand| demand.polls.is_none())
    }

    /// What spins around the socket, if it lingers.
    pub fn around(&self, socket: &Socket) -> Option<Spin> {
        socket.lingering_since?;
        if let Some(reads) = self.reads.get(&socket.last.sk)
            && reads.per_second >= READS_PER_SECOND
            && reads.remote == (socket.last.ends.remote.address, socket.last.ends.remote.port)
        {
            return Some(Spin::Reads(reads.per_second));
        }
        if socket.group.kind != Kind::CloseWaitUnread || socket.last.is_unheld {
            return None;
        }
        let holders = || std::iter::once(&socket.first_holder).chain(&socket.other_holders);
        let polling = self.threads.iter().filter_map(|(thread, demand)| {
            let polls = demand.polls.as_ref()?;
            let watches = holders().any(|held| held.process == thread.process && polls.fds.contains(&held.fd));
            watches.then_some(Spin::Polls { thread: *thread, per_second: polls.per_second, stack: polls.stack })
        });
        polling.max_by(|a, b| a.per_second().total_cmp(&b.per_second()))
    }
}

/// How often it polled, if it did next to nothing else.
pub fn polls_per_second(seen: &Suspect, took: Duration) -> Option<f64> {
    let per_second = seen.polls as f64 / took.as_secs_f64().max(1e-9);
    (per_second >= POLLS_PER_SECOND && seen.others <= seen.polls / OTHERS).then_some(per_second)
}

#[cfg(test)]
mod tests;
