//! What the kernel side has sent and nobody has looked at yet.
//!
//! The ring buffer holds little more than a hundred copies of stacks, and naming the first stack of a large program
//! takes a second: while the watch is busy, a thread of its own makes room in the ring.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, mem, thread};

use aya::maps::{MapData, RingBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Bytes that wait outside of the ring, beyond which the ring fills up, and the kernel side counts what does not fit.
const BYTES_MAX: usize = 16 << 20;

/// Who is done within this time needs no help.
const PATIENCE: Duration = Duration::from_millis(10);

pub struct RingDrain {
    shared: Arc<Shared>,
    /// The ring's.
    ready: OwnedFd,
    has_helper: bool,
}

struct Shared {
    contents: Mutex<Contents>,
    stage: Mutex<Stage>,
    changed: Condvar,
}

struct Contents {
    ring: RingBuf<MapData>,
    /// As they were in the ring.
    records: Vec<Box<[u8]>>,
    bytes: usize,
}

/// What whoever reads the records is at. It begins busy with itself, and waits later.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waits,
    IsBusy,
    HasEnded,
}

impl RingDrain {
    pub fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        let ready = ring.as_fd().try_clone_to_owned()?;
        let contents = Mutex::new(Contents { ring, records: Vec::new(), bytes: 0 });
        let shared = Shared { contents, stage: Mutex::new(Stage::Waits), changed: Condvar::new() };
        Ok(Self { shared: Arc::new(shared), ready, has_helper: false })
    }

    /// Waits for something in the ring, no longer than `timeout`; whoever waits is not busy.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.shared.enter(Stage::Waits);
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        let is_ready = poll(&mut [PollFd::new(&self.ready, PollFlags::IN)], Some(&timeout)).unwrap_or(0) > 0;
        self.shared.enter(Stage::IsBusy);
        is_ready
    }

    /// Hands over every record in the order in which they were sent, those that come meanwhile too.
    pub fn drain(&mut self, mut each: impl FnMut(&[u8])) {
        loop {
            let records = lock(&self.shared.contents).take();
            if records.is_empty() {
                break;
            }
            self.help();
            records.into_iter().for_each(|record| each(&record));
        }
    }

    /// Starts the thread at the first need: by then the agent has given up the rights that it can do without.
    fn help(&mut self) {
        if !self.has_helper {
            let shared = Arc::clone(&self.shared);
            let started = thread::Builder::new().name("ring_drain".into()).spawn(move || shared.make_room());
            self.has_helper = started.is_ok();
        }
    }
}

impl Drop for RingDrain {
    fn drop(&mut self) {
        self.shared.enter(Stage::HasEnded);
    }
}

impl Shared {
    fn enter(&self, stage: Stage) {
        let before = mem::replace(&mut *lock(&self.stage), stage);
        if before != stage {
            self.changed.notify_all();
        }
    }

    fn make_room(&self) {
        loop {
            let stage = lock(&self.stage);
            let stage = self.changed.wait_while(stage, |stage| *stage == Stage::Waits);
            let stage = stage.unwrap_or_else(PoisonError::into_inner);
            let stage = self.changed.wait_timeout_while(stage, PATIENCE, |stage| *stage == Stage::IsBusy);
            let (stage, _) = stage.unwrap_or_else(PoisonError::into_inner);
            match *stage {
                Stage::HasEnded => return,
                Stage::Waits => continue,
                Stage::IsBusy => drop(stage),
            }
            lock(&self.contents).fill();
        }
    }
}

impl Contents {
    fn fill(&mut self) {
        while self.bytes < BYTES_MAX
            && let Some(item) = self.ring.next()
        {
            self.bytes += item.len();
            self.records.push((*item).into());
        }
    }

    fn take(&mut self) -> Vec<Box<[u8]>> {
        self.fill();
        self.bytes = 0;
        mem::take(&mut self.records)
    }
}

/// Nobody panics with a lock held; should it happen, what is there is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
