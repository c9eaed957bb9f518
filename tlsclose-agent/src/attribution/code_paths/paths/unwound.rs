//! Copied stacks, unwound by what their process has mapped.

use tlsclose_common::facts::StackHeader;
use tlsclose_symbols::rule::{Caller, NO_TABLES};

use super::{Paths, caller_of, unwound_stack::Unwound};
use crate::attribution::{
    code_paths::stacks::{Normalized, Step, Walk, normalize, walk_copy},
    modules::{MappedModules, ModuleId, Modules},
    symbols::Symbolizer,
};

impl Paths {
    /// Unwinds a copy, and does so again where it met a library that was loaded after the mappings
    /// were read. None when the process is gone.
    pub(super) fn unwound(
        &mut self,
        header: &StackHeader,
        bytes: &[u8],
        modules: &mut Modules,
        symbols: &mut Symbolizer,
    ) -> Option<Unwound> {
        let mapped = self.mapped(header, header.pc, modules)?;
        let (unwound, unknown) = self.unwind(header, bytes, &mapped, modules, symbols);
        let again = unknown.and_then(|unknown| {
            let mapped = self.look(header, unknown, modules)?;
            mapped.find(unknown).is_some().then_some(mapped)
        });
        Some(match again {
            Some(mapped) => self.unwind(header, bytes, &mapped, modules, symbols).0,
            None => unwound,
        })
    }

    /// By these mappings; and the address that belongs to none of them, where there is one.
    fn unwind(
        &mut self,
        header: &StackHeader,
        bytes: &[u8],
        mapped: &MappedModules,
        modules: &Modules,
        symbols: &mut Symbolizer,
    ) -> (Unwound, Option<u64>) {
        let hides_callers = self.spaces.hides_callers(header);
        let mut callers = Vec::new();
        let mut unknown = None;
        let Walk { mut pcs, left_copy, reach } = walk_copy(header, bytes, |depth, pc| {
            let call = pc - u64::from(depth > 0);
            let caller = match mapped.find(call) {
                Some((ModuleId::JIT, _)) if depth > 0 && hides_callers => Ok(Caller::Unknown),
                Some(place) => caller_of(place, depth == 0, modules, symbols),
                None => {
                    unknown = Some(call);
                    Ok(Caller::Unknown)
                }
            };
            callers.push(caller);
            match caller {
                Ok(Caller::By(rule)) => Step::By(rule),
                Ok(Caller::FramePointer) => Step::By(NO_TABLES),
                _ => Step::Stop,
            }
        });
        if callers.last() == Some(&Ok(Caller::Stray)) {
            callers.pop();
            pcs.pop();
        }
        let Normalized { places: path, is_cut } = normalize(&pcs, mapped);
        let is_whole = !is_cut && callers.last() == Some(&Ok(Caller::Root));
        (Unwound { path, callers, is_whole, left_copy, reach }, unknown)
    }
}
