//! Stacks of native frames as they come. One that cannot be unwound yet, because a file of its process is
//! still being copied, waits here: the census and all other stacks do not.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use tlsclose_common::facts::{Interpreter, LeafKey, LeafRule, StackHeader};

use crate::attribution::Attribution;
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

/// What the kernel side must know because of a stack.
#[derive(Clone, Copy, Debug)]
pub enum Learned {
    /// How to get on from a place.
    Leaf(LeafKey, LeafRule),
    /// An address space is that of this interpreter.
    Interpreter(u64, Interpreter),
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

struct PendingStack {
    header: StackHeader,
    raw: OwnedStack,
    since: Instant,
}

impl PendingStack {
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
    ended: Vec<ProcessId>,
}

impl PendingStacks {
    /// False when there is no room.
    fn park(&mut self, header: &StackHeader, raw: RawStack<'_>, since: Instant) -> bool {
        let has_room = self.stacks.len() < STACKS && self.bytes + raw.bytes() <= BYTES;
        if has_room && since.elapsed() < LONGEST {
            self.bytes += raw.bytes();
            self.stacks.push_back(PendingStack { header: *header, raw: raw.to_owned(), since });
            return true;
        }
        false
    }

    fn take(&mut self) -> VecDeque<PendingStack> {
        self.bytes = 0;
        std::mem::take(&mut self.stacks)
    }

    fn has(&self, process: ProcessId) -> bool {
        self.stacks.iter().any(|stack| stack.process() == process)
    }
}

impl Attribution {
    pub fn take_in(&mut self, header: &StackHeader, raw: RawStack<'_>) -> Option<Learned> {
        self.take_in_since(header, raw, Instant::now())
    }

    /// Stacks wait for files.
    pub fn has_pending(&self) -> bool {
        !self.pending.stacks.is_empty()
    }

    /// Takes in the stacks whose files may have been copied meanwhile.
    pub fn take_in_pending(&mut self) -> Vec<Learned> {
        let stacks = self.pending.take();
        let learned = |stack: PendingStack| self.take_in_since(&stack.header, stack.raw.raw(), stack.since);
        let learned = stacks.into_iter().filter_map(learned).collect();
        for process in std::mem::take(&mut self.pending.ended) {
            self.forget_process(process);
        }
        learned
    }

    /// The address space of a process is gone, or another program's now. Stacks that wait are still unwound by what
    /// it had mapped.
    pub(in crate::attribution) fn forget_process(&mut self, process: ProcessId) {
        if self.pending.has(process) {
            self.paths.keep_as_it_is(process);
            self.pending.ended.push(process);
        } else {
            self.paths.forget_process(process, &self.modules, &mut self.symbols);
        }
    }

    fn take_in_since(&mut self, header: &StackHeader, raw: RawStack<'_>, since: Instant) -> Option<Learned> {
        // Of something else.
        self.symbols.waited();
        let learned = self.of_stack(header, raw);
        if self.symbols.waited() && self.pending.park(header, raw, since) { None } else { learned }
    }

    fn of_stack(&mut self, header: &StackHeader, raw: RawStack<'_>) -> Option<Learned> {
        if let Some((image, interpreter)) = self.late_python(header) {
            return Some(Learned::Interpreter(image, interpreter));
        }
        let Self { paths, modules, symbols, .. } = self;
        let learned = match raw {
            _ if symbols.waits() => None,
            RawStack::Frames(frames) => paths.walked(header, frames, modules, symbols),
            RawStack::Copy(bytes) => paths.copied(header, bytes, modules, symbols),
        };
        learned.map(|(key, rule)| Learned::Leaf(key, rule))
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
