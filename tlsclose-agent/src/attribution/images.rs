//! What the address spaces that stacks come from have mapped, as last read.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tlsclose_common::facts::StackHeader;

use super::{
    java,
    modules::{MappedModules, Modules},
    process::ProcessId,
};

/// Address spaces remembered.
const MAX_IMAGES: usize = 512;
/// How often the mappings of one process are read again because an address was unknown.
const REREAD: Duration = Duration::from_secs(1);

struct Image {
    process: ProcessId,
    mapped: Arc<MappedModules>,
    /// Code made at run time may keep no frame pointer.
    hides_callers: bool,
    read: Instant,
}

/// By [`StackHeader::image`].
#[derive(Default)]
pub struct Images(HashMap<u64, Image>);

impl Images {
    /// The mappings of the program that the stack is from, read again when `address` is new to
    /// them; None when the process is gone.
    pub fn look(&mut self, header: &StackHeader, address: u64, modules: &mut Modules) -> Option<Arc<MappedModules>> {
        let known = self.0.get(&header.image);
        let current = known.is_some_and(|image| image.mapped.find(address).is_some() || image.read.elapsed() < REREAD);
        if !current {
            let process = ProcessId { tgid: header.tgid, started_at: header.started_at };
            if let Some(mapped) = modules.of_process(process) {
                let hides_callers = java::hides_callers(process, &mapped, modules);
                self.remember(header.image, process, mapped, hides_callers);
            }
        }
        self.0.get(&header.image).map(|image| Arc::clone(&image.mapped))
    }

    pub(super) fn remember(&mut self, image: u64, process: ProcessId, mapped: MappedModules, hides_callers: bool) {
        let oldest = || self.0.iter().min_by_key(|(_, image)| image.read).map(|(key, _)| *key);
        if self.0.len() >= MAX_IMAGES
            && let Some(oldest) = oldest()
        {
            self.0.remove(&oldest);
        }
        let image_of = Image { process, mapped: Arc::new(mapped), hides_callers, read: Instant::now() };
        self.0.insert(image, image_of);
    }

    /// Code that the process made at run time may keep no frame pointer.
    pub fn hides_callers(&self, header: &StackHeader) -> bool {
        self.0.get(&header.image).is_some_and(|image| image.hides_callers)
    }

    pub fn forget_process(&mut self, process: ProcessId) {
        self.0.retain(|_, image| image.process != process);
    }
}
