//! Stacks of native frames as they come. One that cannot be unwound yet, because a file of its process is
//! still being copied, waits here: the census and all other stacks do not.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use tlsclose_common::facts::StackHeader;

use tlsclose_core::model::ProcessId;

/// Stacks that wait, and their bytes. Those beyond are taken for what they say now: the kernel side sends such places
/// again.
const STACKS: usize = 256;
const BYTES: usize = 4 << 20;

/// After so long a stack does not wait any more.
const LONGEST: Duration = Duration::from_secs(60);

/// What came with a header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RawStack<'a> {
    /// Return addresses, as the kernel walked them.
    Frames(&'a [u64]),
    /// The top of the stack.
    Copy(&'a [u8]),
}

#[derive(Debug)]
enum OwnedStack {
    Frames(Box<[u64]>),
    Copy(Box<[u8]>),
}

impl RawStack<'_> {
    fn bytes(self) -> usize {
        match self {
            RawStack::Frames(frames) => size_of_val(frames),
            RawStack::Copy(bytes) => bytes.len(),
        }
    }

    fn to_owned(self) -> OwnedStack {
        match self {
            RawStack::Frames(frames) => OwnedStack::Frames(frames.into()),
            RawStack::Copy(bytes) => OwnedStack::Copy(bytes.into()),
        }
    }
}

impl OwnedStack {
    fn raw(&self) -> RawStack<'_> {
        match self {
            OwnedStack::Frames(frames) => RawStack::Frames(frames),
            OwnedStack::Copy(bytes) => RawStack::Copy(bytes),
        }
    }
}

pub struct PendingStack {
    pub header: StackHeader,
    raw: OwnedStack,
    pub since: Instant,
}

impl PendingStack {
    pub fn raw(&self) -> RawStack<'_> {
        self.raw.raw()
    }

    fn process(&self) -> ProcessId {
        ProcessId { tgid: self.header.tgid, started_at: self.header.started_at }
    }
}

/// Stacks that wait for files.
#[derive(Default)]
pub struct PendingStacks {
    stacks: VecDeque<PendingStack>,
    bytes: usize,
    /// Processes that ended meanwhile.
    pub ended: Vec<ProcessId>,
}

impl PendingStacks {
    /// False when there is no room.
    pub fn park(&mut self, header: &StackHeader, raw: RawStack<'_>, since: Instant) -> bool {
        let has_room = self.stacks.len() < STACKS && self.bytes + raw.bytes() <= BYTES;
        if has_room && since.elapsed() < LONGEST {
            self.bytes += raw.bytes();
            self.stacks.push_back(PendingStack { header: *header, raw: raw.to_owned(), since });
            return true;
        }
        false
    }

    pub fn take(&mut self) -> VecDeque<PendingStack> {
        self.bytes = 0;
        std::mem::take(&mut self.stacks)
    }

    pub fn is_empty(&self) -> bool {
        self.stacks.is_empty()
    }

    pub fn has(&self, process: ProcessId) -> bool {
        self.stacks.iter().any(|stack| stack.process() == process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_in_number_in_bytes_and_in_time() {
        let header = StackHeader { tgid: 7, started_at: 1, ..StackHeader::default() };
        let now = Instant::now();
        let mut pending = PendingStacks::default();
        let frames = [1, 2, 3];
        assert!((0..STACKS).all(|_| pending.park(&header, RawStack::Frames(&frames), now)));
        assert!(!pending.park(&header, RawStack::Frames(&frames), now));
        assert!(
            pending.has(ProcessId { tgid: 7, started_at: 1 }) && !pending.has(ProcessId { tgid: 7, started_at: 2 })
        );

        assert!(pending.take().iter().all(|stack| stack.raw.raw() == RawStack::Frames(&frames)));
        assert!(!pending.has(ProcessId { tgid: 7, started_at: 1 }));
        let copy = vec![5; BYTES / 4];
        assert!((0..4).all(|_| pending.park(&header, RawStack::Copy(&copy), now)));
        assert!(!pending.park(&header, RawStack::Copy(&copy), now));

        assert!(pending.take().iter().all(|stack| stack.raw.raw() == RawStack::Copy(&copy)));
        let long_ago = now.checked_sub(LONGEST);
        assert!(long_ago.is_none_or(|then| !pending.park(&header, RawStack::Copy(&copy), then)));
    }
}
