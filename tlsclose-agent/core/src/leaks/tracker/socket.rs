//! One half-closed socket under watch.

use tlsclose_common::facts::{Holder, call};

use super::{
    last_seen::LastSeen,
    record::{LastTouch, sequences, touched},
};
use crate::model::{Change, End, Group, HeldBy, Kind, Moment, PathId, ProcessId};

/// A half-closed socket under watch.
#[derive(Clone, Debug)]
pub struct Socket {
    /// What it is counted with: the same process, kind and code paths.
    pub group: Group,
    /// When its clock started.
    pub clock: Moment,
    /// The clock is only a lower bound: the socket is older than the agent.
    pub age_is_minimum: bool,
    /// Half-closed already at the first census: kept out of every rate.
    pub adopted: bool,
    /// When it began to linger.
    pub lingering_since: Option<Moment>,
    /// The first descriptor that a census met it at.
    pub first_holder: HeldBy,
    /// Further descriptors of the same socket.
    pub other_holders: Vec<HeldBy>,
    /// The facts as last seen, for examples.
    pub last: LastSeen,
    /// Censuses that have shown it.
    pub sightings: u32,
    pub(super) sequences: [u32; 4],
    paths: [(u64, PathId); 2],
}

impl Socket {
    pub(super) fn new(
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
                read_the_end: false,
            },
            clock,
            age_is_minimum,
            adopted,
            lingering_since: None,
            first_holder: held_by,
            other_holders: Vec::new(),
            last: LastSeen::of(record),
            sightings: 1,
            sequences: sequences(record),
            paths: [(0, PathId::NONE); 2],
        };
        socket.resolve(record, path);
        socket
    }

    /// The record is about this very socket, not about another at the same address.
    pub(super) fn is_same(&self, record: &Holder) -> bool {
        self.last.ends.are_of(record)
    }

    pub(super) fn also_held_by(&mut self, held_by: HeldBy, record: &Holder) {
        if self.first_holder == held_by || self.other_holders.contains(&held_by) {
            // By another thread of the process that has a table of its own.
            return;
        }
        let opener = if record.origin.tgid != 0 { record.origin.tgid } else { record.half.tgid };
        let comes_first = held_by.process.tgid == opener && self.first_holder.process.tgid != opener;
        let other = if comes_first { std::mem::replace(&mut self.first_holder, held_by) } else { held_by };
        // Descriptors of one socket beyond these say nothing new.
        if self.other_holders.len() < 16 {
            self.other_holders.push(other);
        }
    }

    /// Interns the keys of its stacks, again as long as they are not known.
    pub(super) fn resolve(&mut self, record: &Holder, path: &mut impl FnMut(u64) -> Option<PathId>) {
        let touched = touched(record);
        for (slot, key) in [record.origin.opened, touched.stack].into_iter().enumerate() {
            let (known, id) = &mut self.paths[slot];
            if key == 0 || (*known == key && *id != PathId::NONE) {
                continue;
            }
            *known = key;
            *id = path(key).unwrap_or(PathId::NONE);
        }
        if self.lingering_since.is_some() {
            // It stays in its group: what it began as, it ends as, unless nobody knew what that was.
            return;
        }
        (self.group.opened, self.group.opened_call) = (self.paths[0].1, record.origin.opened_call);
        self.take_touch(touched);
    }

    fn take_touch(&mut self, touched: LastTouch) {
        let group = &mut self.group;
        (group.touched, group.touched_call, group.read_the_end) = (self.paths[1].1, touched.call, touched.read_the_end);
    }

    /// Its group lacks a stack that has come by now.
    fn was_unknown(&self) -> bool {
        let both = [self.group.opened, self.group.touched].into_iter().zip(self.paths);
        both.into_iter().any(|(in_group, (_, known))| in_group == PathId::NONE && known != PathId::NONE)
    }

    /// Every stack that the kernel side knows of has an id.
    pub(super) fn is_resolved(&self) -> bool {
        self.other_holders.is_empty() && self.paths.iter().all(|(key, id)| *key == 0 || *id != PathId::NONE)
    }

    pub(super) fn update(
        &mut self,
        record: &Holder,
        kind: Kind,
        holder: ProcessId,
        moved: bool,
        now: Moment,
        changes: &mut Vec<Change>,
    ) {
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
        if self.lingering_since.is_none() {
            self.group.process = holder;
        }
        self.sequences = sequences(record);
        self.last = LastSeen::of(record);
        if self.lingering_since.is_some() && self.was_unknown() {
            self.end(End::Reclassified, changes);
            self.lingering_since = None;
        }
        if self.lingering_since.is_some() {
            return;
        }
        (self.group.opened, self.group.opened_call) = (self.paths[0].1, record.origin.opened_call);
        let touched = touched(record);
        if self.paths[1].0 == touched.stack {
            self.take_touch(touched);
        }
    }

    /// The process that it was counted for holds it no more, and another does.
    pub(super) fn change_hands(&mut self, changes: &mut Vec<Change>) {
        self.end(End::Reclassified, changes);
        self.lingering_since = None;
        self.group.process = self.first_holder.process;
    }

    pub(super) fn end(&self, how: End, changes: &mut Vec<Change>) {
        if let Some(began) = self.lingering_since {
            changes.push(Change::Ended { group: self.group, adopted: self.adopted, how, began });
        }
    }
}
