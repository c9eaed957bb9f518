//! Code paths: stacks as the kernel side sends them, turned into frames of files and interned.
//!
//! Workers of one program share paths, whatever their address spaces look like. What a place
//! that makes system calls needs for unwinding is learned here once per file and handed down.

mod unwound;
mod unwound_stack;

use std::{collections::HashSet, sync::Arc};

use tlsclose_common::{
    facts::{LeafKey, LeafRule, StackHeader, leaf, told},
    limits::{COPY_PAGES, PAGE},
};
use tlsclose_symbols::rule::Caller;

use super::{
    address_spaces::AddressSpaces,
    interned::Interned,
    keys::Generations,
    needs::{Needs, rule},
    stacks::{Normalized, fold, normalize},
};
use crate::attribution::{
    modules::{CodePlace, MappedModules, ModuleId, Modules},
    runtimes::{
        jit::{
            HostMaps, Jit,
            unnamed::{ResolvedStack, UnnamedStacks},
        },
        python::{self, Python},
    },
    symbols::{Answered, NotNow, SoFar, Symbolizer},
};
use tlsclose_core::model::ProcessId;
use tlsclose_core::model::site_id::is_runtime_module;
use tlsclose_core::model::{CodePath, PathId};
use unwound_stack::Unwound;

/// Places remembered for programs and threads to start at.
const MAX_ROOTS: usize = 8_192;

/// A chain of runtime frames up to the root longer than this is no start of a program or a thread:
/// `__libc_start_call_main`, `__libc_start_main` and `_start` are three.
const START_MAX: usize = 3;

/// How far above the stack pointer an ordinary copy reaches, in bytes.
const COPY_REACH: u64 = ((COPY_PAGES - 1) * PAGE) as u64;

/// What could not be kept here.
#[derive(Clone, Copy, Debug, Default)]
pub struct PathsLost {
    /// The process was gone before its mappings were read.
    pub process_gone: u64,
    /// No frame belongs to a file.
    pub no_file: u64,
    /// As many paths are known as may be.
    pub full: u64,
}

#[derive(Default)]
pub struct Paths {
    /// Keys of stacks walked in the kernel, which sends each once.
    walked: Generations,
    /// Keys of copies, each used once.
    copied: Generations,
    interned: Interned,
    spaces: AddressSpaces,
    /// Return addresses that only the start of the program or of a thread lies behind.
    roots: HashSet<CodePlace>,
    needs: Needs,
    jit: Jit,
    unnamed: UnnamedStacks,
    pub lost: PathsLost,
}

impl Paths {
    /// The path under a key that the kernel side has given out.
    pub fn by_key(&self, key: u64) -> Option<PathId> {
        self.walked.get(key).or_else(|| self.copied.get(key))
    }

    /// Takes in a stack that was walked in the kernel. If that walk went through a function that
    /// keeps no frame pointer, it may have skipped callers or met garbage: then the stack is not
    /// kept, and the kernel side is told to send copies from this place. One that is pending is not
    /// kept either.
    pub fn walked(
        &mut self,
        header: &StackHeader,
        frames: &[u64],
        modules: &mut Modules,
        symbols: &mut Symbolizer,
    ) -> SoFar<Option<(LeafKey, LeafRule)>> {
        let Some(path) = self.places(header, frames, modules) else { return SoFar::default() };
        let key = LeafKey { image: header.image, pc: header.pc };
        let told = |rule| SoFar::all(Some((key, rule)));
        let hides_callers = self.spaces.hides_callers(header);
        let mut own_seen = false;
        let mut end = path.len();
        for (depth, place) in path.iter().enumerate() {
            let is_runtime = is_runtime(place.0, modules);
            let call = (place.0, place.1.saturating_sub(1));
            let caller = (depth > 0).then(|| match place.0 {
                ModuleId::JIT if hides_callers => Ok(Caller::Unknown),
                _ => caller_of(call, false, modules, symbols),
            });
            let is_start = match caller {
                // The leaf's own rule was followed.
                None => false,
                Some(Err(why)) => return SoFar { is_pending: why == NotNow::Pending, ..told(rule(leaf::COPY)) },
                Some(Ok(Caller::Stray)) => {
                    end = depth;
                    break;
                }
                Some(Ok(Caller::Root)) => {
                    self.mark_root(*place);
                    true
                }
                Some(Ok(Caller::Unknown)) => true,
                Some(Ok(caller)) if !caller.is_by_stack_pointer() => false,
                // Frame pointers do not lead on from here.
                Some(_) if self.roots.contains(place) => true,
                Some(_) if !(is_runtime && own_seen) => return told(self.needs.copies(key, false)),
                Some(_) if self.needs.ask(key, *place) => return told(rule(leaf::DEEP_COPY)),
                Some(_) => true,
            };
            if is_start {
                end = depth + 1;
                break;
            }
            own_seen |= !is_runtime;
        }
        self.keep(header, false, &path[..end], modules, symbols);
        SoFar::default()
    }

    /// Takes in registers and the top of a stack; returns what the kernel side must know about
    /// the place: how to find its caller, or that copies are needed. One that is pending is not kept.
    pub fn copied(
        &mut self,
        header: &StackHeader,
        bytes: &[u8],
        modules: &mut Modules,
        symbols: &mut Symbolizer,
    ) -> SoFar<Option<(LeafKey, LeafRule)>> {
        let Some(unwound) = self.unwound(header, bytes, modules, symbols) else { return SoFar::default() };
        let is_pending = unwound.callers.contains(&Err(NotNow::Pending));
        let Unwound { path, callers, is_whole, left_copy, reach } = unwound;
        let key = LeafKey { image: header.image, pc: header.pc };
        let start = Self::start_of(&path, is_whole, modules);
        let by_stack_pointer = |caller: &Answered<Caller>| caller.is_ok_and(Caller::is_by_stack_pointer);
        let needs_copies = callers.iter().take(start).skip(1).any(by_stack_pointer);
        let is_deep = bytes.len() > COPY_PAGES * PAGE;
        // A stack that did not fit will be walked in the kernel, or copied again, deeper: this one,
        // cut short, would be another path for the same cause. So would one that was cut because
        // the helper did not answer.
        let comes_again = left_copy && !(needs_copies && is_deep) || callers.iter().any(Result::is_err);
        let end = if is_whole { self.learn_root(&path, start) } else { path.len().min(start + 1) };
        if !comes_again {
            self.keep(header, true, &path[..end], modules, symbols);
        }
        let learned = if needs_copies {
            self.needs.copies(key, left_copy || reach > COPY_REACH)
        } else if let Some(known) = self.needs.of(key) {
            known
        } else {
            match callers.first() {
                Some(Ok(caller)) => caller.leaf_rule(),
                // Nothing can be said now. Copies that came too early are not held against the place.
                Some(Err(_)) => rule(leaf::UNKNOWN),
                None => return SoFar::default(),
            }
        };
        SoFar { known: Some((key, learned)), is_pending }
    }

    /// Takes in a stack of Python frames, which stand in for those of their interpreter: of the
    /// native frames only the one that made the system call is kept.
    pub fn python(&mut self, header: &StackHeader, places: &[(ModuleId, u64)], modules: &mut Modules) {
        let leaf = self.mapped(header, header.pc, modules).and_then(|mapped| mapped.find(header.pc));
        let path: Vec<_> = leaf.into_iter().chain(places.iter().copied()).collect();
        if let Some(id) = self.intern(&path) {
            self.walked.insert(header.key, id);
        }
        if let Some(last) = path.last().filter(|_| header.python == told::WALKED) {
            self.mark_root(*last);
        }
    }

    /// The address space of a process is gone, or another program's now; some of its stacks are still to come.
    pub fn keep_as_it_is(&mut self, process: ProcessId) {
        self.spaces.keep_as_it_is(process);
    }

    /// None of its stacks will come any more.
    pub fn forget_process(&mut self, process: ProcessId, modules: &Modules, symbols: &mut Symbolizer) {
        let mut maps = HostMaps { jit: &mut self.jit, procfs: modules.procfs(), symbols };
        let named = self.unnamed.settle(process, &mut maps);
        self.insert(named);
        self.spaces.forget_process(process);
        self.jit.forget(process);
    }

    /// Keys of walked stacks that were forgotten since this was asked last: the kernel side must
    /// send them again.
    pub fn forgotten(&mut self) -> Vec<u64> {
        self.copied.dropped();
        self.walked.dropped()
    }

    /// Names the frames of a path.
    pub fn named(&self, path: PathId, modules: &Modules, symbols: &mut Symbolizer, python: &Python) -> SoFar<CodePath> {
        let Some(path) = self.interned.get(path) else { return SoFar::default() };
        let native = path.iter().take_while(|(module, _)| *module != python::MODULE);
        let addresses: Vec<_> =
            native.enumerate().map(|(depth, &(module, offset))| (module, offset, depth > 0)).collect();
        let whole = path.last().is_some_and(|last| self.roots.contains(last));
        let in_files: Vec<_> = addresses.iter().copied().filter(|place| place.0 != ModuleId::JIT).collect();
        let SoFar { known: named, is_pending } = symbols.names(modules, &in_files);
        let mut named = named.into_iter();
        let frames = addresses.iter().map(|place| match place.0 {
            ModuleId::JIT => vec![self.jit.frame(place.1)],
            _ => named.next().unwrap_or_default(),
        });
        let python = path[addresses.len()..].iter().map(|(_, number)| python.frame(*number));
        SoFar { known: CodePath { frames: frames.flatten().chain(python).collect(), whole }, is_pending }
    }

    /// Names the JIT code of stacks that came before the map of their process had it, where that map may be read now.
    pub fn name_waiting(&mut self, modules: &Modules, symbols: &mut Symbolizer) {
        let mut maps = HostMaps { jit: &mut self.jit, procfs: modules.procfs(), symbols };
        let named = self.unnamed.look_again(&mut maps);
        self.insert(named);
    }

    /// Takes in a path, or lets it wait for names of JIT code.
    fn keep(
        &mut self,
        header: &StackHeader,
        is_copy: bool,
        path: &[CodePlace],
        modules: &Modules,
        symbols: &mut Symbolizer,
    ) {
        let process = ProcessId { tgid: header.tgid, started_at: header.started_at };
        let stack = ResolvedStack { key: header.key, is_copy, process, path: path.to_vec() };
        let mut maps = HostMaps { jit: &mut self.jit, procfs: modules.procfs(), symbols };
        let named = self.unnamed.take_in(stack, &mut maps);
        self.insert(named);
    }

    fn insert(&mut self, stacks: Vec<ResolvedStack>) {
        for stack in stacks {
            let Some(id) = self.intern(&stack.path) else { continue };
            let keys = if stack.is_copy { &mut self.copied } else { &mut self.walked };
            keys.insert(stack.key, id);
        }
    }

    /// Where the program's own frames end, and only such follow as start a program or a thread.
    fn start_of(path: &[CodePlace], is_whole: bool, modules: &Modules) -> usize {
        let is_own = |(depth, place): (usize, &CodePlace)| {
            let is_root = is_whole && depth + 1 == path.len();
            !is_root && !is_runtime(place.0, modules)
        };
        let own = path.iter().enumerate().rposition(is_own);
        own.map_or(path.len(), |own| own + 1)
    }

    /// Of a whole stack whose own frames end at `start`: how many frames are kept, so that it is the
    /// same path as one that frame pointers lead to just behind the own frames.
    fn learn_root(&mut self, path: &[CodePlace], start: usize) -> usize {
        let end = if path.len() - start <= START_MAX { path.len().min(start + 1) } else { path.len() };
        if let Some(last) = end.checked_sub(1) {
            self.mark_root(path[last]);
        }
        end
    }

    /// Only the start of the program or of a thread lies behind this place.
    fn mark_root(&mut self, place: CodePlace) {
        if self.roots.len() < MAX_ROOTS {
            self.roots.insert(place);
        }
    }

    fn intern(&mut self, path: &[(ModuleId, u64)]) -> Option<PathId> {
        if path.is_empty() {
            self.lost.no_file += 1;
            return None;
        }
        let id = self.interned.id(&fold(path.iter().copied()));
        self.lost.full += u64::from(id.is_none());
        id
    }

    /// As places in files, up to the first address that belongs to none. What was loaded after the
    /// mappings were read last is found too.
    fn places(&mut self, header: &StackHeader, frames: &[u64], modules: &mut Modules) -> Option<Vec<CodePlace>> {
        let mapped = self.mapped(header, header.pc, modules)?;
        let Normalized { places: path, is_cut } = normalize(frames, &mapped);
        let unknown =
            frames.get(path.len()).filter(|_| is_cut).map(|pc| pc.saturating_sub(u64::from(!path.is_empty())));
        let again = unknown.and_then(|unknown| self.look(header, unknown, modules));
        Some(again.map_or(path, |mapped| normalize(frames, &mapped).places))
    }

    /// The mappings of the program that the stack is from, read again when `address` is new to them.
    fn mapped(&mut self, header: &StackHeader, address: u64, modules: &mut Modules) -> Option<Arc<MappedModules>> {
        let mapped = self.look(header, address, modules);
        self.lost.process_gone += u64::from(mapped.is_none());
        mapped
    }

    /// As [`Self::mapped`], where a process that is gone is no loss yet.
    pub fn look(&mut self, header: &StackHeader, address: u64, modules: &mut Modules) -> Option<Arc<MappedModules>> {
        self.spaces.look(header, address, modules)
    }
}

/// How to get from a place to its caller.
fn caller_of(place: CodePlace, is_leaf: bool, modules: &Modules, symbols: &mut Symbolizer) -> Answered<Caller> {
    match place.0 {
        ModuleId::JIT => Ok(Caller::FramePointer),
        module => symbols.caller(modules, module, place.1, is_leaf),
    }
}

fn is_runtime(module: ModuleId, modules: &Modules) -> bool {
    modules.get(module).is_some_and(|module| is_runtime_module(&module.path))
}

#[cfg(test)]
mod bench;
#[cfg(test)]
mod tests;
