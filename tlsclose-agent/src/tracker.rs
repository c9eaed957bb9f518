//! Follows half-closed sockets from census to census: which of them linger, since when, and how
//! they end. Pure: no clock, no I/O; the same censuses give the same answers.
//!
//! A census is no snapshot. A socket that is missing once may have been walked past; it has
//! ended when two censuses in a row do not show it.

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use rustc_hash::{FxHashMap, FxHasher};
use tlsclose_common::facts::{Holder, call, half, holder, state};

use crate::{
    clock::Moment,
    finding::{End, Kind},
};

/// Sightings after which nothing about a socket waits for a next one any more.
const SETTLING: u32 = 2;

/// A code path that the agent has interned; 0 where none was sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u32);

impl PathId {
    pub const NONE: Self = Self(0);
}

/// A process, never mistaken for another that got its PID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessKey {
    pub tgid: u32,
    /// ns of CLOCK_BOOTTIME.
    pub started_at: u64,
}

/// Sockets that are treated alike: same process, same kind, same code paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    pub process: ProcessKey,
    pub kind: Kind,
    pub opened: PathId,
    pub opened_call: u8,
    pub touched: PathId,
    pub touched_call: u8,
}

/// One descriptor that holds a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldBy {
    pub process: ProcessKey,
    pub fd: u32,
}

/// A half-closed socket under watch.
#[derive(Clone, Debug)]
pub struct Socket {
    pub group: Group,
    /// When its clock started.
    pub clock: Moment,
    /// The clock is only a lower bound: the socket is older than the agent.
    pub age_is_minimum: bool,
    /// Half-closed already at the first census: kept out of every rate.
    pub adopted: bool,
    /// When it began to linger.
    pub lingering_since: Option<Moment>,
    pub first_holder: HeldBy,
    /// Further descriptors of the same socket.
    pub other_holders: Vec<HeldBy>,
    /// The facts as last seen, for examples.
    pub last: LastSeen,
    /// Censuses that have shown it.
    pub sightings: u32,
    sequences: [u32; 4],
    paths: [(u64, PathId); 2],
}

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
}

/// What an example of a finding shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastSeen {
    pub local: [u8; 16],
    pub remote: [u8; 16],
    pub local_port: u16,
    pub remote_port: u16,
    pub family: u8,
    pub state: u8,
    pub netns: u32,
    pub recv_queue: u32,
    pub send_queue: u32,
    pub touched_at: u64,
}

/// What one census changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It lingers from now on.
    Began { group: Group, adopted: bool },
    /// It no longer lingers.
    Ended { group: Group, adopted: bool, how: End, began: Moment },
}

/// Facts about the host that a census needs to read a record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ticks {
    pub jiffies: u64,
    pub per_second: u64,
}

/// Half-closed sockets between censuses.
///
/// A hundred thousand of them are looked up in each census, far more than caches hold. Censuses
/// show sockets in nearly the same order every time, so they lie in that order, and each look-up
/// first tries the neighbour of the last one; where nothing has changed, which is nearly always,
/// only a [`Seen`] is touched.
#[derive(Default)]
pub struct Tracker {
    /// In step with `sockets`.
    seen: Vec<Seen>,
    sockets: Vec<Socket>,
    /// Where in `sockets` each address is.
    index: FxHashMap<u64, u32>,
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
        let held_by =
            HeldBy { process: ProcessKey { tgid: record.tgid, started_at: record.started_at }, fd: record.fd };
        let clock = clock_of(record, self.now, ticks, self.census == 1);
        let fresh = Seen {
            sk: record.sk,
            fingerprint,
            census: self.census,
            order: self.observed,
            settled: false,
            lingers: false,
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
            std::mem::replace(socket, next).end(End::Closed, &mut self.changes);
            *seen = fresh;
        } else if seen.census == self.census {
            socket.also_held_by(held_by, record);
            seen.settled = false;
        } else {
            socket.sightings += 1;
            socket.first_holder = held_by;
            socket.other_holders.clear();
            socket.resolve(record, &mut path);
            let moved = socket.sequences != sequences(record);
            socket.update(record, kind, held_by.process, moved, self.now, &mut self.changes);
            let settled = socket.sightings > SETTLING && socket.is_resolved();
            *seen = Seen { settled, lingers: socket.lingering_since.is_some(), ..fresh };
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
        mut is_alive: impl FnMut(ProcessKey) -> bool,
        mut leak_after: impl FnMut(Group) -> Duration,
    ) -> Vec<Change> {
        let (mut alive, mut after) = (Memo::default(), Memo::default());
        let mut kept = 0;
        for at in 0..self.seen.len() {
            let mut seen = self.seen[at];
            if seen.census + 1 < self.census {
                let socket = &self.sockets[at];
                let how = if alive.get(socket.group.process, &mut is_alive) { End::Closed } else { End::ProcessExit };
                socket.end(how, &mut self.changes);
                continue;
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

    /// The sockets under watch.
    pub fn sockets(&self) -> impl Iterator<Item = &Socket> {
        self.sockets.iter()
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

impl Socket {
    fn new(
        record: &Holder,
        kind: Kind,
        held_by: HeldBy,
        adopted: bool,
        (clock, age_is_minimum): (Moment, bool),
        path: &mut impl FnMut(u64) -> Option<PathId>,
    ) -> Self {
        let mut socket = Self {
            group: Group {
                process: held_by.process,
                kind,
                opened: PathId::NONE,
                opened_call: call::NONE,
                touched: PathId::NONE,
                touched_call: call::NONE,
            },
            clock,
            age_is_minimum,
            adopted,
            lingering_since: None,
            first_holder: held_by,
            other_holders: Vec::new(),
            last: last_seen(record),
            sightings: 1,
            sequences: sequences(record),
            paths: [(0, PathId::NONE); 2],
        };
        socket.resolve(record, path);
        socket
    }

    /// The record is about this very socket, not about another at the same address.
    fn is_same(&self, record: &Holder) -> bool {
        self.last.remote_port == record.remote_port
            && self.last.local_port == record.local_port
            && self.last.remote == record.remote
            && self.last.local == record.local
            && self.last.netns == record.netns
    }

    fn also_held_by(&mut self, held_by: HeldBy, record: &Holder) {
        // Descriptors of one socket beyond these say nothing new.
        if self.other_holders.len() < 16 {
            self.other_holders.push(held_by);
        }
        let opener = if record.origin.tgid != 0 { record.origin.tgid } else { record.half.tgid };
        if held_by.process.tgid == opener && self.group.process.tgid != opener {
            let index = self.other_holders.len() - 1;
            std::mem::swap(&mut self.first_holder, &mut self.other_holders[index]);
        }
    }

    /// Interns the keys of its stacks, again as long as they are not known.
    fn resolve(&mut self, record: &Holder, path: &mut impl FnMut(u64) -> Option<PathId>) {
        let (touched, touched_call) = touched(record);
        for (slot, key) in [record.origin.opened, touched].into_iter().enumerate() {
            let (known, id) = &mut self.paths[slot];
            if key == 0 || (*known == key && *id != PathId::NONE) {
                continue;
            }
            *known = key;
            *id = path(key).unwrap_or(PathId::NONE);
        }
        if self.lingering_since.is_some() {
            // A lingering socket stays in its group: what it began as, it ends as.
            return;
        }
        (self.group.opened, self.group.opened_call) = (self.paths[0].1, record.origin.opened_call);
        (self.group.touched, self.group.touched_call) = (self.paths[1].1, touched_call);
    }

    /// Every stack that the kernel side knows of has an id.
    fn is_resolved(&self) -> bool {
        self.other_holders.is_empty() && self.paths.iter().all(|(key, id)| *key == 0 || *id != PathId::NONE)
    }

    fn update(
        &mut self,
        record: &Holder,
        kind: Kind,
        holder: ProcessKey,
        moved: bool,
        now: Moment,
        changes: &mut Vec<Change>,
    ) {
        let holder_changed =
            self.group.process != holder && !self.other_holders.iter().any(|h| h.process == self.group.process);
        if moved {
            if self.lingering_since.is_some() {
                self.end(End::Touched, changes);
                self.lingering_since = None;
            }
            self.clock = now;
            self.age_is_minimum = false;
        } else if kind != self.group.kind && self.lingering_since.is_some() {
            // Still forgotten, only by another name now: the clock goes on.
            self.end(End::Reclassified, changes);
            self.lingering_since = None;
        } else if kind != self.group.kind {
            self.clock = self.clock.max(Moment(record.half.since));
        }
        self.group.kind = kind;
        if holder_changed && self.lingering_since.is_none() {
            self.group.process = holder;
        }
        self.sequences = sequences(record);
        self.last = last_seen(record);
        let (touched, touched_call) = touched(record);
        if self.lingering_since.is_none() && self.paths[1].0 == touched {
            (self.group.touched, self.group.touched_call) = (self.paths[1].1, touched_call);
        }
    }

    fn end(&self, how: End, changes: &mut Vec<Change>) {
        if let Some(began) = self.lingering_since {
            changes.push(Change::Ended { group: self.group, adopted: self.adopted, how, began });
        }
    }
}

/// What is wrong with the socket, if anything can be.
fn classify(record: &Holder) -> Option<Kind> {
    match record.state {
        state::CLOSE_WAIT if record.copied_seq == record.rcv_nxt => Some(Kind::CloseWaitEofRead),
        state::CLOSE_WAIT => Some(Kind::CloseWaitUnread),
        state::FIN_WAIT2 => Some(Kind::FinWait2Held),
        state::CLOSE if record.remote_port == 0 => None,
        state::CLOSE if record.half.flags & half::CONNECT_FAILED != 0 => Some(Kind::ConnectFailedHeld),
        state::CLOSE => Some(Kind::ResetHeld),
        _ => None,
    }
}

/// The stack of the last touch that tells the kind's story: the read that returned 0, or the
/// shutdown. Where nobody read the end, the last ordinary read or send, which is sampled for armed
/// processes only: it is shown, but makes no site of its own.
fn touched(record: &Holder) -> (u64, u8) {
    let wanted = match record.state {
        state::FIN_WAIT2 => call::SHUTDOWN,
        state::CLOSE_WAIT => call::READ,
        _ => record.half.touched_call,
    };
    if record.half.touched != 0 && record.half.touched_call == wanted {
        return (record.half.touched, record.half.touched_call);
    }
    let unread = record.state == state::CLOSE_WAIT && record.copied_seq != record.rcv_nxt;
    if unread { (record.origin.touched, record.origin.touched_call) } else { (0, call::NONE) }
}

/// When the socket's clock started: when the kernel side saw it half-close. For sockets that are
/// `older` than the agent, when they last sent or received anything, which is a lower bound of
/// their age; others that the kernel side knows nothing of are young: they are being closed, or
/// did not fit into its map.
fn clock_of(record: &Holder, now: Moment, ticks: Ticks, older: bool) -> (Moment, bool) {
    if record.flags & holder::HALF != 0 && record.half.since != 0 {
        return (Moment(record.half.since), false);
    }
    let moved = [record.lsndtime, record.rcv_tstamp];
    // A stamp may be younger than the look at the clock: that is no age, not 2^32 ticks.
    let idle_since = |at: u32| (ticks.jiffies as u32).wrapping_sub(at).cast_signed().max(0);
    let idle = moved.into_iter().filter(|at| *at != 0).map(idle_since).min();
    let Some(idle) = idle.filter(|_| older && ticks.per_second != 0) else { return (now, true) };
    (now.minus(Duration::from_secs_f64(f64::from(idle) / ticks.per_second as f64)), true)
}

/// Folds everything that a socket's state is made from.
fn fingerprint(record: &Holder) -> u64 {
    let mut hash = FxHasher::default();
    record.local.hash(&mut hash);
    record.remote.hash(&mut hash);
    let ports = u64::from(record.local_port) << 16 | u64::from(record.remote_port);
    let (half, origin) = (&record.half, &record.origin);
    let flags = u64::from(record.state) | u64::from(record.flags) << 8 | u64::from(half.flags) << 16;
    for word in [
        u64::from(record.write_seq) << 32 | u64::from(record.snd_una),
        u64::from(record.copied_seq) << 32 | u64::from(record.rcv_nxt),
        ports << 32 | u64::from(record.netns),
        u64::from(record.tgid) << 32 | u64::from(record.fd),
        flags << 16 | u64::from(half.touched_call) << 8 | u64::from(origin.opened_call),
        record.started_at,
        half.since,
        half.touched,
        origin.opened,
        origin.touched,
    ] {
        hash.write_u64(word);
    }
    hash.finish()
}

fn sequences(record: &Holder) -> [u32; 4] {
    [record.write_seq, record.snd_una, record.copied_seq, record.rcv_nxt]
}

fn last_seen(record: &Holder) -> LastSeen {
    LastSeen {
        local: record.local,
        remote: record.remote,
        local_port: record.local_port,
        remote_port: record.remote_port,
        family: record.family,
        state: record.state,
        netns: record.netns,
        recv_queue: record.rcv_nxt.wrapping_sub(record.copied_seq),
        send_queue: record.write_seq.wrapping_sub(record.snd_una),
        touched_at: record.half.touched_at,
    }
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;
