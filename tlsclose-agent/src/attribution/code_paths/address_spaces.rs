//! What the address spaces that stacks come from have mapped, as last read.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tlsclose_common::facts::StackHeader;

use crate::attribution::{
    modules::{MappedModules, Modules},
    runtimes::java,
};
use tlsclose_core::model::ProcessId;

/// Address spaces remembered.
const MAX_IMAGES: usize = 512;
/// How often the mappings of one process are read again because an address was unknown: so often
/// at once (libraries are loaded one after the other), then once in each [`REREAD`].
const REREADS: u64 = 4;
const REREAD: Duration = Duration::from_secs(1);
/// After so long they are read again anyhow: a library may have taken the place of another.
const REFRESH: Duration = Duration::from_secs(10);
/// What reading again may take in each second, for all processes: those with tens of thousands of
/// mappings take 20 ms each.
const SHARE: Duration = Duration::from_millis(20);

struct Image {
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

impl Image {
    /// Times that the mappings may be read again now.
    fn rereads(&self) -> u64 {
        let earned = self.read.elapsed().as_millis() / REREAD.as_millis();
        REREADS.min(self.spare.saturating_add(earned as u64))
    }
}

/// What reading again has taken in this second.
#[derive(Default)]
struct Spent {
    second: Option<Instant>,
    time: Duration,
}

impl Spent {
    fn is_too_much(&mut self, now: Instant) -> bool {
        if self.second.is_none_or(|begun| now.saturating_duration_since(begun) >= Duration::from_secs(1)) {
            *self = Self { second: Some(now), time: Duration::ZERO };
        }
        self.time >= SHARE
    }
}

#[derive(Default)]
pub struct Images {
    /// By [`StackHeader::image`].
    images: HashMap<u64, Image>,
    spent: Spent,
}

impl Images {
    /// The mappings of the program that the stack is from, read again when `address` is new to
    /// them; None when the process is gone.
    pub fn look(&mut self, header: &StackHeader, address: u64, modules: &mut Modules) -> Option<Arc<MappedModules>> {
        let begun = Instant::now();
        let is_too_much = self.spent.is_too_much(begun);
        let known = self.images.get(&header.image);
        let rereads = known.map_or(REREADS, Image::rereads);
        let is_fresh =
            |image: &Image| image.is_over || image.mapped.find(address).is_some() && image.read.elapsed() < REFRESH;
        let current = known.is_some_and(|image| is_fresh(image) || rereads == 0 || is_too_much);
        let is_first = known.is_none();
        let spare = if is_first { REREADS } else { rereads.saturating_sub(1) };
        if !current {
            let process = ProcessId { tgid: header.tgid, started_at: header.started_at };
            if let Some(mapped) = modules.of_process(process) {
                let hides_callers = java::hides_callers(process, &mapped, modules);
                let mapped = Arc::new(mapped);
                let image = Image { process, mapped, hides_callers, read: Instant::now(), spare, is_over: false };
                self.remember(header.image, image);
            }
            if !is_first {
                self.spent.time += begun.elapsed();
            }
        }
        self.images.get(&header.image).map(|image| Arc::clone(&image.mapped))
    }

    fn remember(&mut self, key: u64, image: Image) {
        let oldest = || self.images.iter().min_by_key(|(_, image)| image.read).map(|(key, _)| *key);
        if self.images.len() >= MAX_IMAGES
            && let Some(oldest) = oldest()
        {
            self.images.remove(&oldest);
        }
        self.images.insert(key, image);
    }

    #[cfg(test)]
    pub(super) fn insert(&mut self, key: u64, process: ProcessId, mapped: MappedModules) {
        let mapped = Arc::new(mapped);
        self.remember(
            key,
            Image { process, mapped, hides_callers: false, read: Instant::now(), spare: 0, is_over: false },
        );
    }

    /// Code that the process made at run time may keep no frame pointer.
    pub fn hides_callers(&self, header: &StackHeader) -> bool {
        self.images.get(&header.image).is_some_and(|image| image.hides_callers)
    }

    /// What the process had mapped stays as it was read last.
    pub fn keep_as_it_is(&mut self, process: ProcessId) {
        for image in self.images.values_mut().filter(|image| image.process == process) {
            image.is_over = true;
        }
    }

    pub fn forget_process(&mut self, process: ProcessId) {
        self.images.retain(|_, image| image.process != process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::process::procfs::{Procfs, tests::own_id};

    /// A page that can never be mapped.
    const NOWHERE: u64 = 0x10;

    /// Looks, and says whether the mappings were read for it.
    fn reads(images: &mut Images, modules: &mut Modules, address: u64) -> bool {
        let before = images.images.get(&1).map(|image| Arc::as_ptr(&image.mapped));
        let id = own_id();
        let header = StackHeader { image: 1, tgid: id.tgid, started_at: id.started_at, ..StackHeader::default() };
        let mapped = images.look(&header, address, modules).expect("our own mappings");
        before != Some(Arc::as_ptr(&mapped))
    }

    #[test]
    fn mappings_are_read_again_for_an_unknown_address_some_times_and_after_a_while() {
        let (mut images, mut modules) = (Images::default(), Modules::new(Procfs::new("/proc")));
        let known = reads as *const () as u64;
        assert!(reads(&mut images, &mut modules, known) && !reads(&mut images, &mut modules, known));
        let mut times = || {
            images.spent = Spent::default();
            reads(&mut images, &mut modules, NOWHERE)
        };
        assert_eq!([times(), times(), times(), times(), times()], [true, true, true, true, false]);
        let age = |images: &mut Images, by: Duration| {
            let image = images.images.get_mut(&1).expect("an image");
            image.read = image.read.checked_sub(by).expect("the machine has been up for longer");
        };
        age(&mut images, REREAD);
        assert!(!reads(&mut images, &mut modules, known));
        assert!(reads(&mut images, &mut modules, NOWHERE) && !reads(&mut images, &mut modules, NOWHERE));
        age(&mut images, REFRESH);
        images.spent = Spent { second: Some(Instant::now()), time: SHARE };
        assert!(!reads(&mut images, &mut modules, known), "others have used up this second");
        images.spent = Spent::default();
        assert!(reads(&mut images, &mut modules, known));
        assert!(images.spent.time > Duration::ZERO);
    }
}
