//! What the address spaces that stacks come from have mapped, as last read.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tlsclose_common::facts::StackHeader;

use crate::attribution::{
    bounded::Bounded,
    modules::{MappedModules, Modules},
    runtimes::java,
};
use tlsclose_core::model::ProcessId;

/// Address spaces remembered.
const MAX_SPACES: usize = 512;
/// How often the mappings of one process are read again because an address was unknown: so often
/// at once (libraries are loaded one after the other), then once in each [`REREAD`].
const REREADS: u64 = 4;
const REREAD: Duration = Duration::from_secs(1);
/// After so long they are read again anyhow: a library may have taken the place of another.
const REFRESH: Duration = Duration::from_secs(10);
/// What reading again may take in each second, for all processes: those with tens of thousands of
/// mappings take 20 ms each.
const SHARE: Duration = Duration::from_millis(20);

struct AddressSpace {
    process: ProcessId,
    mapped: Arc<MappedModules>,
    /// Code made at run time may keep no frame pointer.
    hides_callers: bool,
    read: Instant,
    /// Times that they may be read again before [`REREAD`] is over.
    spare: u64,
    /// Whoever reads them now reads another program's.
    is_over: bool,
}

impl AddressSpace {
    /// Times that the mappings may be read again now.
    fn rereads(&self) -> u64 {
        let earned = self.read.elapsed().as_millis() / REREAD.as_millis();
        REREADS.min(self.spare.saturating_add(earned as u64))
    }
}

/// What reading again has taken in this second.
#[derive(Default)]
struct RereadBudget {
    second: Option<Instant>,
    time: Duration,
}

impl RereadBudget {
    /// A new second, if the last is over.
    fn begin(&mut self, now: Instant) {
        if self.second.is_none_or(|begun| now.saturating_duration_since(begun) >= Duration::from_secs(1)) {
            *self = Self { second: Some(now), time: Duration::ZERO };
        }
    }

    fn is_used_up(&self) -> bool {
        self.time >= SHARE
    }
}

#[derive(Default)]
pub struct AddressSpaces {
    /// By [`StackHeader::image`].
    spaces: Bounded<u64, AddressSpace, MAX_SPACES>,
    spent: RereadBudget,
}

impl AddressSpaces {
    /// The mappings of the program that the stack is from, read again when `address` is new to
    /// them; None when the process is gone.
    pub fn look(&mut self, header: &StackHeader, address: u64, modules: &mut Modules) -> Option<Arc<MappedModules>> {
        let begun = Instant::now();
        self.spent.begin(begun);
        let is_too_much = self.spent.is_used_up();
        let known = self.spaces.get(&header.image);
        let rereads = known.map_or(REREADS, AddressSpace::rereads);
        let is_fresh = |space: &AddressSpace| {
            space.is_over || space.mapped.find(address).is_some() && space.read.elapsed() < REFRESH
        };
        let current = known.is_some_and(|space| is_fresh(space) || rereads == 0 || is_too_much);
        let is_first = known.is_none();
        let spare = if is_first { REREADS } else { rereads.saturating_sub(1) };
        if !current {
            let process = ProcessId { tgid: header.tgid, started_at: header.started_at };
            if let Some(mapped) = modules.of_process(process) {
                let hides_callers = java::hides_callers(process, &mapped, modules);
                let mapped = Arc::new(mapped);
                let space =
                    AddressSpace { process, mapped, hides_callers, read: Instant::now(), spare, is_over: false };
                self.spaces.put(header.image, space);
            }
            if !is_first {
                self.spent.time += begun.elapsed();
            }
        }
        self.spaces.peek(&header.image).map(|space| Arc::clone(&space.mapped))
    }

    #[cfg(test)]
    pub(super) fn insert(&mut self, key: u64, process: ProcessId, mapped: MappedModules) {
        let mapped = Arc::new(mapped);
        self.spaces.put(
            key,
            AddressSpace { process, mapped, hides_callers: false, read: Instant::now(), spare: 0, is_over: false },
        );
    }

    /// Code that the process made at run time may keep no frame pointer.
    pub fn hides_callers(&self, header: &StackHeader) -> bool {
        self.spaces.peek(&header.image).is_some_and(|space| space.hides_callers)
    }

    /// What the process had mapped stays as it was read last.
    pub fn keep_as_it_is(&mut self, process: ProcessId) {
        for (_, space) in self.spaces.iter_mut().filter(|(_, space)| space.process == process) {
            space.is_over = true;
        }
    }

    pub fn forget_process(&mut self, process: ProcessId) {
        self.spaces.retain(|_, space| space.process != process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::process::procfs::{Procfs, tests::own_id};

    /// A page that can never be mapped.
    const NOWHERE: u64 = 0x10;

    /// Looks, and says whether the mappings were read for it.
    fn reads(spaces: &mut AddressSpaces, modules: &mut Modules, address: u64) -> bool {
        let before = spaces.spaces.peek(&1).map(|space| Arc::as_ptr(&space.mapped));
        let id = own_id();
        let header = StackHeader { image: 1, tgid: id.tgid, started_at: id.started_at, ..StackHeader::default() };
        let mapped = spaces.look(&header, address, modules).expect("our own mappings");
        before != Some(Arc::as_ptr(&mapped))
    }

    #[test]
    fn mappings_are_read_again_for_an_unknown_address_some_times_and_after_a_while() {
        let (mut spaces, mut modules) = (AddressSpaces::default(), Modules::new(Procfs::new("/proc")));
        let known = reads as *const () as u64;
        assert!(reads(&mut spaces, &mut modules, known) && !reads(&mut spaces, &mut modules, known));
        let mut times = || {
            spaces.spent = RereadBudget::default();
            reads(&mut spaces, &mut modules, NOWHERE)
        };
        assert_eq!([times(), times(), times(), times(), times()], [true, true, true, true, false]);
        let age = |spaces: &mut AddressSpaces, by: Duration| {
            let space = spaces.spaces.get_mut(&1).expect("an address space");
            space.read = space.read.checked_sub(by).expect("the machine has been up for longer");
        };
        age(&mut spaces, REREAD);
        assert!(!reads(&mut spaces, &mut modules, known));
        assert!(reads(&mut spaces, &mut modules, NOWHERE) && !reads(&mut spaces, &mut modules, NOWHERE));
        age(&mut spaces, REFRESH);
        spaces.spent = RereadBudget { second: Some(Instant::now()), time: SHARE };
        assert!(!reads(&mut spaces, &mut modules, known), "others have used up this second");
        spaces.spent = RereadBudget::default();
        assert!(reads(&mut spaces, &mut modules, known));
        assert!(spaces.spent.time > Duration::ZERO);
    }
}
