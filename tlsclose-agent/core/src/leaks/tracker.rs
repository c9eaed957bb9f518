//! Follows half-closed sockets from census to census: which of them linger, since when, and how
//! they end. Pure: no clock, no I/O; the same censuses give the same answers.
//!
//! A census is no snapshot. A socket that is missing once may have been walked past; it has
//! ended when two censuses in a row do not show it.

mod last_seen;
mod record;
mod socket;

use std::{hash::Hash, time::Duration};

use rustc_hash::FxHashMap;
use tlsclose_common::facts::Holder;

pub use self::last_seen::LastSeen;
use self::record::{classify, clock_of, fingerprint, sequences};
pub use self::socket::Socket;
use crate::model::{Change, End, Group, HeldBy, Kind, Moment, PathId, ProcessId, Ticks};

/// Sightings after which nothing about a socket waits for a next one any more.
const SETTLING: u32 = 2;

/// What a census needs to know of a socket of which nothing has changed: half a cache line.
#[derive(Clone, Copy, Debug)]
struct Seen {
    sk: u64,
    /// Folds all of the record that [`Socket`] was made from.
    fingerprint: u64,
    /// The census that showed it last, and its place there.
    census: u32,
    order: u32,
    /// The same fingerprint means that there is nothing to do.
    settled: bool,
    lingers: bool,
    /// It lingers, and this census has not (yet) shown the process of its group among its holders.
    astray: bool,
}

/// Half-closed sockets between censuses.
///
/// A hundred thousand of them are looked up in each census, far more than caches hold. Censuses
/// show sockets in nearly the same order every time, so they lie in that order, and each look-up
/// first tries the neighbour of the last one; where nothing has changed, which is nearly always,
/// only a `Seen` is touched.
#[derive(Default)]
pub struct Tracker {
    /// In step with `sockets`.
    seen: Vec<Seen>,
    sockets: Vec<Socket>,
    /// Where in `sockets` each address is.
    index: FxHashMap<u64, u32>,
    /// Lingering sockets whose address is another socket's now, with the last census that showed them.
    replaced: Vec<(u32, Socket)>,
    /// Where the next record is expected.
    cursor: usize,
    /// Records of this census so far, and how many were not where they were expected.
    observed: u32,
    strays: u32,
    census: u32,
    now: Moment,
    changes: Vec<Change>,
}

impl Tracker {
    /// Starts a census.
    pub fn begin(&mut self, now: Moment) {
        self.census += 1;
        self.now = now;
        (self.cursor, self.observed, self.strays) = (0, 0, 0);
    }

    /// Takes in one record. `path` interns the key of a stack, `None` when it is not known (yet).
    pub fn observe(&mut self, record: &Holder, ticks: Ticks, mut path: impl FnMut(u64) -> Option<PathId>) {
        let Some(kind) = classify(record) else { return };
        self.observed += 1;
        let fingerprint = fingerprint(record);
        let at = self.find(record.sk);
        if let Some(seen) = at.and_then(|at| self.seen.get_mut(at))
            && seen.settled
            && seen.fingerprint == fingerprint
        {
            (seen.census, seen.order) = (self.census, self.observed);
            return;
        }
        let held_by = HeldBy { process: ProcessId { tgid: record.tgid, started_at: record.started_at }, fd: record.fd };
        let clock = clock_of(record, self.now, ticks, self.census == 1);
        let fresh = Seen {
            sk: record.sk,
            fingerprint,
            census: self.census,
            order: self.observed,
            settled: false,
            lingers: false,
            astray: false,
        };
        let Some(at) = at else {
            self.cursor = self.sockets.len() + 1;
            self.index.insert(record.sk, self.sockets.len() as u32);
            self.seen.push(fresh);
            self.sockets.push(Socket::new(record, kind, held_by, self.census == 1, clock, &mut path));
            return;
        };
        let (seen, socket) = (&mut self.seen[at], &mut self.sockets[at]);
        if !socket.is_same(record) {
            // Another socket at the same address: the one before it is gone.
            let next = Socket::new(record, kind, held_by, self.census == 1, clock, &mut path);
            let gone = std::mem::replace(socket, next);
            if gone.lingering_since.is_some() {
                self.replaced.push((seen.census, gone));
            }
            *seen = fresh;
        } else if socket.group.kind == Kind::CloseWaitNotAccepted && kind != Kind::CloseWaitNotAccepted {
            // Somebody has accepted it after all: from now on it is judged anew.
            socket.end(End::Touched, &mut self.changes);
            *socket = Socket::new(record, kind, held_by, socket.adopted, (self.now, false), &mut path);
            *seen = fresh;
        } else if seen.census == self.census {
            socket.also_held_by(held_by, record);
            seen.settled = false;
            seen.astray &= held_by.process != socket.group.process;
        } else {
            socket.sightings += 1;
            socket.first_holder = held_by;
            socket.other_holders.clear();
            socket.resolve(record, &mut path);
            let moved = socket.sequences != sequences(record);
            socket.update(record, kind, held_by.process, moved, self.now, &mut self.changes);
            let settled = socket.sightings > SETTLING && socket.is_resolved();
            let lingers = socket.lingering_since.is_some();
            *seen = Seen { settled, lingers, astray: lingers && socket.group.process != held_by.process, ..fresh };
        }
    }

    /// Where the socket at this address is kept.
    fn find(&mut self, sk: u64) -> Option<usize> {
        let at = if self.seen.get(self.cursor).is_some_and(|seen| seen.sk == sk) {
            Some(self.cursor)
        } else {
            self.strays += 1;
            self.index.get(&sk).map(|at| *at as usize)
        };
        self.cursor = at.map_or(self.cursor, |at| at + 1);
        at
    }

    /// Ends a census: what it did not show (for the second time) has ended, what has stayed
    /// untouched for `leak_after` lingers.
    pub fn finish(
        &mut self,
        mut is_alive: impl FnMut(ProcessId) -> bool,
        mut leak_after: impl FnMut(Group) -> Duration,
    ) -> Vec<Change> {
        let (mut alive, mut after) = (Memo::default(), Memo::default());
        let mut how = |socket: &Socket| match alive.get(socket.group.process, &mut is_alive) {
            true => End::Closed,
            false => End::ProcessExit,
        };
        for (_, socket) in self.replaced.extract_if(.., |(census, _)| *census + 1 < self.census) {
            socket.end(how(&socket), &mut self.changes);
        }
        let mut kept = 0;
        for at in 0..self.seen.len() {
            let mut seen = self.seen[at];
            if seen.census + 1 < self.census {
                let socket = &self.sockets[at];
                socket.end(how(socket), &mut self.changes);
                continue;
            }
            if seen.census == self.census && seen.astray {
                self.sockets[at].change_hands(&mut self.changes);
                (seen.astray, seen.lingers) = (false, false);
            }
            if seen.census == self.census && !seen.lingers {
                let socket = &mut self.sockets[at];
                let overdue = self.now.since(socket.clock) >= after.get(socket.group, &mut leak_after);
                // What only one census has shown may be inside its last close().
                if overdue && socket.sightings >= 2 {
                    seen.lingers = true;
                    socket.lingering_since = Some(self.now);
                    self.changes.push(Change::Began { group: socket.group, adopted: socket.adopted });
                }
            }
            self.seen[kept] = seen;
            if kept != at {
                self.sockets.swap(kept, at);
            }
            kept += 1;
        }
        let ended = kept < self.seen.len();
        self.seen.truncate(kept);
        self.sockets.truncate(kept);
        let out_of_order = self.strays > self.observed / 8;
        if out_of_order {
            self.put_in_order();
        }
        if out_of_order || ended {
            self.rebuild_index();
        }
        std::mem::take(&mut self.changes)
    }

    /// Sorts the sockets as the last census has shown them.
    fn put_in_order(&mut self) {
        let mut both: Vec<(Seen, Socket)> = self.seen.drain(..).zip(self.sockets.drain(..)).collect();
        both.sort_by_key(|(seen, _)| seen.order);
        (self.seen, self.sockets) = both.into_iter().unzip();
    }

    fn rebuild_index(&mut self) {
        if self.sockets.capacity() > 1024 && self.sockets.len() < self.sockets.capacity() / 4 {
            self.sockets.shrink_to_fit();
            self.seen.shrink_to_fit();
            self.index.shrink_to(self.sockets.len());
        }
        self.index.clear();
        self.index.extend(self.seen.iter().enumerate().map(|(at, seen)| (seen.sk, at as u32)));
    }

    /// The sockets under watch, those included that are gone and not yet judged.
    pub fn sockets(&self) -> impl Iterator<Item = &Socket> {
        self.sockets.iter().chain(self.replaced.iter().map(|(_, socket)| socket))
    }
}

/// Answers, each asked for once in a census.
struct Memo<K, T>(FxHashMap<K, T>);

impl<K, T> Default for Memo<K, T> {
    fn default() -> Self {
        Self(FxHashMap::default())
    }
}

impl<K: Copy + Eq + Hash, T: Copy> Memo<K, T> {
    fn get(&mut self, about: K, ask: &mut impl FnMut(K) -> T) -> T {
        *self.0.entry(about).or_insert_with(|| ask(about))
    }
}

#[cfg(test)]
mod tests;
