//! Keeps a helper running, and hands it the files that it is asked about.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tlsclose_symbols::protocol::{Answer, Request};

use super::client::{Helper, nonsense};
use super::copies::{Made, patience};
use super::deadlines::FIRST_DEADLINE;
use super::frames::is_build_id;
use super::loads::{Copy, Load};
use super::{Answered, NotNow, Symbolizer, copy};
use crate::attribution::modules::contents::Contents;
use crate::attribution::modules::{ModuleId, Modules};
use crate::host::memory::Budget;

impl Symbolizer {
    /// There is no file, it is too large for the memory that there is, or it is not to be handed to a helper again.
    pub(super) fn is_out_of_reach(&self, modules: &Modules, module: ModuleId) -> bool {
        let is_too_large = modules.get(module).is_some_and(|known| known.size > self.budget.copies);
        is_too_large || modules.file_of(module).is_none() || self.strikes.is_out(module)
    }

    /// Sees to it that a helper has what the module holds. True when it got it just now. A copy that takes longer than
    /// `longest`, or than its size lets expect, goes on.
    pub(super) fn load(
        &mut self,
        modules: &Modules,
        module: ModuleId,
        longest: Option<Duration>,
    ) -> Answered<(Load, bool)> {
        if self.strikes.is_out(module) {
            return Err(NotNow::NoAnswer);
        }
        // It may have ended meanwhile, which is nobody's fault.
        self.helper.take_if(Helper::reap_if_ended);
        let known = modules.get(module).ok_or(NotNow::NoAnswer)?;
        let debug_info = self.strikes.of(module) == 0;
        let is_loaded = |this: &Self, load| this.helper.as_ref().is_some_and(|helper| helper.has_loaded(load));
        let load = known.contents().map(|contents| Load { contents: contents.id, debug_info });
        if let Some(load) = load.filter(|load| is_loaded(self, *load)) {
            return Ok((load, false));
        }
        let (file, size) = (Arc::clone(modules.file_of(module).ok_or(NotNow::NoAnswer)?), known.size);
        if size > self.budget.copies {
            return Err(NotNow::NoAnswer);
        }
        self.renew();
        self.start()?;
        // What is not any more what it was says nothing of what is executed.
        let is_changed = |digest| known.contents().is_some_and(|contents| contents.digest != digest);
        let (data, digest) = match self.copy(module, file, size, longest.unwrap_or(patience(size)))? {
            Made::Copy(data, digest) if !is_changed(digest) => (data, digest),
            Made::Copy(..) | Made::Never => {
                self.strikes.add(module);
                return Err(NotNow::NoAnswer);
            }
            Made::Later => return Err(NotNow::Pending),
            Made::NotNow => return Err(NotNow::NoAnswer),
        };
        let contents = self.contents.of(digest);
        known.set_contents(Arc::clone(&contents));
        let load = Load { contents: contents.id, debug_info };
        // Another module's.
        if is_loaded(self, load) {
            return Ok((load, false));
        }
        self.hand_over(module, load, &contents, &Copy { data, size })?;
        Ok((load, true))
    }

    fn hand_over(&mut self, module: ModuleId, load: Load, contents: &Contents, copy: &Copy) -> Answered<()> {
        self.used_at = Instant::now();
        let deadline = self.used_at + FIRST_DEADLINE;
        match self.helper.as_mut().ok_or(NotNow::NoAnswer)?.load(load, copy, deadline) {
            Ok(Answer::Loaded { build_id, debug_link, .. }) => {
                contents.set(build_id.filter(|id| is_build_id(id)), debug_link);
                Ok(())
            }
            Ok(other) => Err(self.failed(Some(module), &nonsense(&other))),
            Err(error) => Err(self.failed(Some(module), &error)),
        }
    }

    /// Copies a file, for which there is room then.
    fn copy(&mut self, module: ModuleId, file: Arc<File>, size: u64, patience: Duration) -> Answered<Made> {
        if self.copies.is_on_its_way(module) {
            return Ok(self.copies.take(module, patience));
        }
        let most = self.budget.copies.saturating_sub(self.copies.bytes());
        if size > most {
            return Ok(Made::Later);
        }
        if let Err(error) = self.helper.as_mut().ok_or(NotNow::NoAnswer)?.make_room(size, most) {
            return Err(self.failed(None, &error));
        }
        let copying = move || copy::sealed_copy_and_digest(&file, size);
        Ok(self.copies.begin(module, size, patience, &mut self.worker, copying))
    }

    /// Replaces a helper that what it has read so far nearly fills: the next file would cost it, and pay for all.
    fn renew(&mut self) {
        let full = self.budget.heap / 4 * 3;
        if self.starts.would_allow(Instant::now()) {
            self.helper.take_if(|helper| helper.heap() > full);
        }
    }

    pub(super) fn start(&mut self) -> Answered<()> {
        if self.helper.is_some() {
            return Ok(());
        }
        self.budget = Budget::now();
        if !self.starts.allow(Instant::now()) {
            return Err(NotNow::NoAnswer);
        }
        self.used_at = Instant::now();
        match Helper::start(&self.launch) {
            Ok(helper) => {
                if helper.uid == 0 {
                    log::warn!("the symbol helper runs as root, without capabilities");
                }
                self.helper = Some(helper);
                Ok(())
            }
            Err(error) => Err(self.failed(None, &error)),
        }
    }

    pub(super) fn ask(
        &mut self,
        module: ModuleId,
        load: Load,
        request: &Request,
        deadline: Duration,
    ) -> Answered<Answer> {
        let deadline = Instant::now() + deadline;
        let helper = self.helper.as_mut().ok_or(NotNow::NoAnswer)?;
        let answer = helper.ask_about(load, request, deadline);
        self.used_at = Instant::now();
        answer.map_err(|error| self.failed(Some(module), &error))
    }

    /// Ends the helper, and remembers what it was working on.
    pub(super) fn failed(&mut self, module: Option<ModuleId>, error: &io::Error) -> NotNow {
        self.failures += 1;
        self.helper = None;
        match module {
            Some(module) => {
                self.strikes.add(module);
                log::debug!("the symbol helper failed on module {}: {error}", module.0);
            }
            None => log::warn!("cannot start the symbol helper: {error}; stacks stay unnamed"),
        }
        NotNow::NoAnswer
    }
}
