//! Counts of sockets: of what has been, and of what is now.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    leaks::tracker::Socket,
    model::{Change, End, Ended, Moment, PathId},
};

/// Example sockets kept for a site.
const EXAMPLES: usize = 5;
/// Stacks of sends counted for a site.
const SENT: usize = 32;
/// Listeners kept for a site.
const LISTENERS: usize = 16;

/// Counts since the agent started; adopted sockets are not in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Sockets that began to linger.
    pub lingered: u64,
    /// Those of them that linger no more, by how it ended.
    pub ended: Ended,
    /// Sockets that were half-closed before the agent started, and began to linger.
    pub adopted: u64,
}

/// The sockets of a site, of a series, or of a process at a site, after one census.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Sockets that linger, the adopted ones with them.
    pub lingering: u64,
    /// How many of them are older than the agent.
    pub adopted: u64,
    /// How many of them have a sampled stack, of the call that opened or of the one that last touched them.
    pub sampled: u64,
    /// In CLOSE after a FIN from either side, and after a reset or an error; of others nobody saw how they ended.
    pub both_ended: u64,
    /// In CLOSE after a reset or an error.
    pub failed: u64,
    /// When the clock of the oldest started; None when there is none.
    pub oldest: Option<Moment>,
    /// The oldest is older than the agent: its age is a lower bound.
    pub age_is_minimum: bool,
    /// The oldest five.
    pub examples: Vec<Socket>,
    /// How many were last sent to by which stack, by its key.
    pub sent: BTreeMap<u64, u64>,
    /// Addresses of listeners in whose accept queues they are.
    pub listeners: BTreeSet<u64>,
}

impl Account {
    /// Books that a socket began to linger, or lingers no more.
    pub fn book(&mut self, change: &Change) {
        match *change {
            Change::Began { adopted: true, .. } => self.adopted += 1,
            Change::Began { .. } => self.lingered += 1,
            Change::Ended { adopted: true, .. } => {}
            Change::Ended { how, .. } => match how {
                End::Closed => self.ended.closed += 1,
                End::Touched => self.ended.touched += 1,
                End::Reclassified => self.ended.reclassified += 1,
                End::ProcessExit => self.ended.process_exit += 1,
            },
        }
    }
}

impl Account {
    /// Sockets that linger here still turned out to belong elsewhere.
    pub(super) fn left(&mut self, fresh: u64, adopted: u64) {
        self.ended.reclassified += fresh;
        self.adopted -= adopted;
    }

    /// And here they are.
    pub(super) fn joined(&mut self, fresh: u64, adopted: u64) {
        self.lingered += fresh;
        self.adopted += adopted;
    }
}

impl Tally {
    /// Counts one more lingering socket.
    pub fn add(&mut self, socket: &Socket) {
        self.lingering += 1;
        self.adopted += u64::from(socket.adopted);
        if socket.group.opened != PathId::NONE || socket.group.touched != PathId::NONE {
            self.sampled += 1;
        }
        match socket.last.both_ended {
            Some(true) => self.both_ended += 1,
            Some(false) => self.failed += 1,
            None => {}
        }
        if self.oldest.is_none_or(|oldest| socket.clock < oldest) {
            self.oldest = Some(socket.clock);
            self.age_is_minimum = socket.age_is_minimum;
        }
        self.count_sent(socket.last.sent, 1);
        self.keep_listener(socket.last.listener);
        self.keep_example(socket);
    }

    /// Counts those of another tally too.
    pub fn merge(&mut self, other: &Self) {
        self.lingering += other.lingering;
        self.adopted += other.adopted;
        self.sampled += other.sampled;
        self.both_ended += other.both_ended;
        self.failed += other.failed;
        if let Some(theirs) = other.oldest
            && self.oldest.is_none_or(|ours| theirs < ours)
        {
            self.oldest = Some(theirs);
            self.age_is_minimum = other.age_is_minimum;
        }
        other.sent.iter().for_each(|(stack, sockets)| self.count_sent(*stack, *sockets));
        other.listeners.iter().for_each(|listener| self.keep_listener(*listener));
        for example in &other.examples {
            self.keep_example(example);
        }
    }

    fn count_sent(&mut self, stack: u64, sockets: u64) {
        if stack != 0 && (self.sent.len() < SENT || self.sent.contains_key(&stack)) {
            *self.sent.entry(stack).or_default() += sockets;
        }
    }

    fn keep_listener(&mut self, listener: u64) {
        if listener != 0 && self.listeners.len() < LISTENERS {
            self.listeners.insert(listener);
        }
    }

    /// Keeps the oldest few.
    fn keep_example(&mut self, socket: &Socket) {
        let at = self.examples.partition_point(|kept| kept.clock <= socket.clock);
        if at < EXAMPLES {
            self.examples.insert(at, socket.clone());
            self.examples.truncate(EXAMPLES);
        }
    }
}
