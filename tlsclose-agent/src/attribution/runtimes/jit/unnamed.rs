//! Stacks with JIT code that had no name yet when they came.

use std::collections::HashMap;

use crate::attribution::modules::{CodePlace, ModuleId};
use tlsclose_core::model::ProcessId;

/// Stacks that wait at once, of all processes. Those beyond are kept as they are, cut at the first function without
/// a name: a program that makes new stacks all the time shall not take memory for it.
const MAX: usize = 256;

/// The maps of JIT compilers. Somebody keeps them, but not for ever, and not all of them.
pub trait JitMaps {
    /// Whether what was read of the map can still be trusted with addresses that are used again.
    fn is_young(&self, process: ProcessId) -> bool;

    /// Reads the map of the process again, if that may be done now; false if not. What there is of the map stays
    /// there until that of another process is read.
    fn look(&mut self, process: ProcessId) -> bool;

    /// The numbers of the functions at addresses, by what was read last and is still kept.
    fn numbers(&mut self, process: ProcessId, addresses: &[u64]) -> Vec<Option<u64>>;
}

/// A stack, as places in modules.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedStack {
    /// The kernel side's.
    pub key: u64,
    pub is_copy: bool,
    pub process: ProcessId,
    /// The offset of JIT code is its address, until it is named: then it is the number of a function.
    pub path: Vec<CodePlace>,
}

/// A stack without all its names waits for one more look at the map of its process. With each look all that wait for
/// it are looked up, before another map is read, and are final: as many processes as there are may wait together.
#[derive(Default)]
pub struct UnnamedStacks {
    stacks: HashMap<ProcessId, Vec<ResolvedStack>>,
    count: usize,
}

impl UnnamedStacks {
    /// Takes in a stack. Gives back those that are final now, this one or others, named as far as they can be.
    pub fn take_in(&mut self, stack: ResolvedStack, maps: &mut impl JitMaps) -> Vec<ResolvedStack> {
        if stack.path.iter().all(|place| place.0 != ModuleId::JIT) {
            return vec![stack];
        }
        let process = stack.process;
        let mut done = if maps.is_young(process) { Vec::new() } else { self.look(process, maps) };
        let mut named = stack.named(maps);
        if named.path.len() < stack.path.len() && maps.look(process) {
            done.extend(self.settle(process, maps));
            named = stack.named(maps);
        }
        if named.path.len() == stack.path.len() || self.count >= MAX {
            done.push(named);
        } else {
            self.stacks.entry(process).or_default().push(stack);
            self.count += 1;
        }
        done
    }

    /// Looks at the maps of all processes that have stacks waiting, where that may be done now.
    pub fn look_again(&mut self, maps: &mut impl JitMaps) -> Vec<ResolvedStack> {
        let processes: Vec<_> = self.stacks.keys().copied().collect();
        processes.into_iter().flat_map(|process| self.look(process, maps)).collect()
    }

    /// The process is gone: what is left of its map is all that there will be.
    pub fn settle(&mut self, process: ProcessId, maps: &mut impl JitMaps) -> Vec<ResolvedStack> {
        let stacks = self.stacks.remove(&process).unwrap_or_default();
        self.count -= stacks.len();
        stacks.iter().map(|stack| stack.named(maps)).collect()
    }

    fn look(&mut self, process: ProcessId, maps: &mut impl JitMaps) -> Vec<ResolvedStack> {
        if maps.look(process) { self.settle(process, maps) } else { Vec::new() }
    }
}

impl ResolvedStack {
    /// With functions in place of the addresses of JIT code, up to the first without a name.
    fn named(&self, maps: &mut impl JitMaps) -> Self {
        // Of all but the leaf the call before the return address is meant.
        let address = |(depth, place): (usize, &CodePlace)| place.1 - u64::from(depth > 0);
        let made = self.path.iter().enumerate().filter(|(_, place)| place.0 == ModuleId::JIT);
        let addresses: Vec<u64> = made.map(address).collect();
        let mut numbers = maps.numbers(self.process, &addresses).into_iter();
        let path = self.path.iter().map_while(|place| match place.0 {
            ModuleId::JIT => Some((ModuleId::JIT, numbers.next()??)),
            _ => Some(*place),
        });
        Self { path: path.collect(), ..*self }
    }
}

#[cfg(test)]
mod tests;
