//! The maps of JIT compilers, by way of the helper.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use tlsclose_symbols::protocol::Name;

use super::client::Helper;
use super::deadlines::{DEBUG_DEADLINE, FIRST_DEADLINE, NAMES_DEADLINE};
use super::frames::clean;
use super::jit_name::JitName;
use super::{Symbolizer, copy};
use tlsclose_core::model::ProcessId;

/// Processes remembered for maps that cost a helper.
const JIT_STRUCK_MAX: usize = 1024;

impl Symbolizer {
    /// Whether the helper has the map of the process's JIT compiler.
    pub fn has_jit(&self, process: ProcessId) -> bool {
        self.helper.as_ref().is_some_and(|helper| helper.has_jit(jit_key(process)))
    }

    /// Hands over such a map, and says how long that took a running helper. None when there is no map, or it cost a
    /// helper before.
    pub fn load_jit(
        &mut self,
        process: ProcessId,
        open: impl FnOnce() -> Option<(File, u64)> + Send + 'static,
    ) -> Option<Duration> {
        let key = jit_key(process);
        if self.jit_struck.contains(&key) {
            return None;
        }
        let begun = Instant::now();
        let copied = self.worker.run(DEBUG_DEADLINE, move || {
            let (file, size) = open()?;
            copy::sealed_copy(&file, size)
        });
        let data = copied.flatten()?;
        let copying = begun.elapsed();
        self.helper.take_if(Helper::reap_if_ended);
        self.start().ok()?;
        self.used_at = Instant::now();
        let deadline = self.used_at + FIRST_DEADLINE;
        let loaded = self.helper.as_mut().map(|helper| helper.load_jit(key, &data, deadline));
        self.jit_done(key, loaded).map(|()| copying + self.used_at.elapsed())
    }

    /// The functions at addresses of a process whose map was handed over.
    pub fn jit_names(&mut self, process: ProcessId, addresses: &[u64]) -> Vec<Option<JitName>> {
        let key = jit_key(process);
        // It may have ended meanwhile, which is not the map's fault.
        self.helper.take_if(Helper::reap_if_ended);
        self.used_at = Instant::now();
        let deadline = self.used_at + NAMES_DEADLINE;
        let names = self.helper.as_mut().map(|helper| helper.jit_names(key, addresses, deadline));
        let Some(names) = self.jit_done(key, names) else { return vec![None; addresses.len()] };
        let name = |names: Vec<Name>| {
            let name = clean(names.into_iter().next()?);
            Some(JitName { function: name.function?, file: name.file })
        };
        names.into_iter().map(name).collect()
    }

    fn jit_done<T>(&mut self, key: u64, answer: Option<io::Result<T>>) -> Option<T> {
        match answer? {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.failures += 1;
                self.helper = None;
                if self.jit_struck.len() >= JIT_STRUCK_MAX {
                    self.jit_struck.clear();
                }
                self.jit_struck.insert(key);
                log::debug!("the symbol helper failed on a map of JIT code: {error}");
                None
            }
        }
    }
}

/// Tells a process from any other.
fn jit_key(process: ProcessId) -> u64 {
    process.started_at ^ (u64::from(process.tgid) << 40)
}
