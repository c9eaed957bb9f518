//! Accept queues with connections in them, or on their way there, as one census shows them. Pure.

use std::collections::BTreeMap;

use tlsclose_common::facts::{AcceptQueue, Holder};
use tlsclose_common::limits::{QUEUE_RECORDS, QUEUE_STRETCH, QUEUE_STRETCHES};

use crate::model::{Endpoints, HeldBy, ProcessId};

/// Holders kept for one listener: workers share it.
const HOLDERS: usize = 16;

/// A listening socket with connections in its accept queue, or on their way there. Members of an SO_REUSEPORT group are
/// one each.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Lengths, in connections, as the census met them.
    pub queue: AcceptQueue,
    /// The local one is what it listens on.
    pub ends: Endpoints,
    /// When somebody last accepted from it, in ns of CLOCK_MONOTONIC; 0 when not known.
    pub accepted_at: u64,
    /// Descriptors that it is open as, 16 at most: workers share it.
    pub holders: Vec<HeldBy>,
}

/// All of them, by address of the socket.
#[derive(Debug, Default)]
pub struct AcceptQueues {
    listeners: BTreeMap<u64, Listener>,
}

impl AcceptQueues {
    /// Starts a census.
    pub fn begin(&mut self) {
        self.listeners.clear();
    }

    /// Takes in one record, if it is of a listener. However many descriptors and processes share
    /// it, it is one.
    pub fn observe(&mut self, record: &Holder) {
        let Some(queue) = record.accept_queue() else { return };
        let holder = HeldBy { process: ProcessId { tgid: record.tgid, started_at: record.started_at }, fd: record.fd };
        let listener = self.listeners.entry(record.sk).or_insert_with(|| Listener {
            queue,
            ends: Endpoints::of(record),
            accepted_at: record.origin.touched_at,
            holders: Vec::new(),
        });
        if listener.holders.len() < HOLDERS {
            listener.holders.push(holder);
        }
    }

    /// The listener at this kernel address (`struct sock`), if it has connections waiting.
    pub fn get(&self, sk: u64) -> Option<&Listener> {
        self.listeners.get(&sk)
    }

    /// Connections that are not established yet, of all listeners.
    pub fn requests(&self) -> u64 {
        self.iter().map(|listener| u64::from(listener.queue.requests)).sum()
    }

    /// Every connection in these queues whose peer gave up has a record of its own.
    pub fn fit(&self) -> bool {
        self.iter().all(|listener| listener.queue.half_closed <= QUEUE_RECORDS)
    }

    /// Nothing held up the walks along these queues. `walks`: the census may look into queues on this host.
    pub fn are_walked(&self, walks: bool) -> bool {
        self.iter().all(|listener| was_walked(&listener.queue, walks))
    }

    /// Every listener with connections waiting, by its kernel address.
    pub fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.values()
    }
}

/// Nothing held up the walk along the queue. It may well have met fewer than there were when it began, or none: while
/// programs accept, a queue gets shorter.
fn was_walked(queue: &AcceptQueue, walks: bool) -> bool {
    queue.walked >= queue.length || walks && queue.walked < QUEUE_STRETCH * QUEUE_STRETCHES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sk: u64, tgid: u32, length: u32) -> Holder {
        let mut record = Holder { sk, tgid, fd: 3, local_port: 80, ..Holder::default() };
        record.set_accept_queue(AcceptQueue {
            length,
            limit: 128,
            walked: length,
            half_closed: 1,
            requests: 2,
            young: 1,
        });
        record
    }

    #[test]
    fn a_listener_shared_by_workers_is_one_with_all_its_holders() {
        let mut queues = AcceptQueues::default();
        queues.begin();
        for record in [record(1, 10, 5), record(1, 11, 5), record(2, 10, 7)] {
            queues.observe(&record);
        }
        queues.observe(&Holder { sk: 3, ..Holder::default() });
        assert_eq!(queues.iter().map(|it| it.queue.length).collect::<Vec<_>>(), [5, 7]);
        let holders = &queues.get(1).unwrap().holders;
        assert_eq!(holders.iter().map(|it| it.process.tgid).collect::<Vec<_>>(), [10, 11]);
        assert_eq!(queues.requests(), 4);
        assert_eq!(queues.get(1).unwrap().queue.young, 1);
    }

    #[test]
    fn a_queue_is_whole_when_the_walk_along_it_came_to_its_end() {
        const FAR: u32 = QUEUE_STRETCH * QUEUE_STRETCHES;
        for (length, walked, half_closed, walks, is_whole) in [
            (5, 5, 5, true, true),
            // Some were accepted meanwhile, all of them, or more came.
            (5, 3, 0, true, true),
            (5, 0, 0, true, true),
            (5, 6, 0, true, true),
            // It was not looked at, or is longer than a walk.
            (5, 0, 0, false, false),
            (0, 0, 0, false, true),
            (FAR + 1, FAR, 0, true, false),
            (FAR, FAR, 0, true, true),
            (40, 40, QUEUE_RECORDS, true, true),
            (40, 40, QUEUE_RECORDS + 1, true, false),
        ] {
            let mut queues = AcceptQueues::default();
            let mut record = record(1, 10, length);
            record.set_accept_queue(AcceptQueue { length, walked, half_closed, ..AcceptQueue::default() });
            queues.observe(&record);
            assert_eq!(
                queues.are_walked(walks) && queues.fit(),
                is_whole,
                "{walked} of {length}, {half_closed} half-closed"
            );
        }
    }

    #[test]
    fn a_queue_that_a_census_does_not_show_is_empty() {
        let mut queues = AcceptQueues::default();
        queues.begin();
        queues.observe(&record(1, 10, 5));
        queues.begin();
        assert_eq!(queues.iter().count(), 0);
    }
}
