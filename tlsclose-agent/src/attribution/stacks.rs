//! Program counters out of what the kernel side recorded of a stack.

use tlsclose_common::facts::{LeafRule, StackHeader, leaf};
use tlsclose_common::limits::{PAGE, STACK_COPY, STACK_FRAMES};

use super::modules::{MappedModules, ModuleId};

/// Walks a copied stack: the program counter, the caller of the leaf by its rule, then as many
/// frame pointers as lie in the copy, each above the one before. `bytes` is
/// `StackCopy::bytes`; its contents are the process's to choose.
pub fn walk_copy(header: &StackHeader, bytes: &[u8], rule: LeafRule) -> Vec<u64> {
    let stack = Stack { header, bytes };
    let mut pcs = vec![header.pc];
    let (mut frame, mut above) = match rule.status {
        leaf::FROM_STACK_POINTER | leaf::FROM_FRAME_POINTER => {
            let Some(caller) = stack.caller(rule) else {
                return pcs;
            };
            pcs.push(caller.pc);
            (caller.frame_pointer, caller.stack_pointer)
        }
        _ => (header.fp, header.sp),
    };
    while pcs.len() < STACK_FRAMES && frame >= above && frame % 8 == 0 {
        let saved = (stack.word(frame), frame.checked_add(8).and_then(|at| stack.word(at)));
        let (Some(next), Some(pc)) = saved else { break };
        if pc == 0 {
            break;
        }
        pcs.push(pc);
        above = frame.saturating_add(16);
        frame = next;
    }
    pcs
}

/// Registers as they are once the leaf has returned.
struct Caller {
    pc: u64,
    frame_pointer: u64,
    stack_pointer: u64,
}

struct Stack<'a> {
    header: &'a StackHeader,
    bytes: &'a [u8],
}

impl Stack<'_> {
    fn caller(&self, rule: LeafRule) -> Option<Caller> {
        let base = match rule.status {
            leaf::FROM_STACK_POINTER => self.header.sp,
            _ => self.header.fp,
        };
        let at = base.checked_add_signed(rule.return_address.into())?;
        let frame_pointer = match rule.frame_pointer {
            leaf::UNCHANGED => self.header.fp,
            offset => self.word(base.checked_add_signed(offset.into())?)?,
        };
        Some(Caller { pc: self.word(at).filter(|pc| *pc != 0)?, frame_pointer, stack_pointer: at.checked_add(8)? })
    }

    /// The eight bytes at `address`, if they lie at or above the stack pointer in copied pages.
    fn word(&self, address: u64) -> Option<u64> {
        let page_start = self.header.sp - self.header.sp % PAGE as u64;
        if address < self.header.sp {
            return None;
        }
        let at = usize::try_from(address - page_start).ok()?;
        let end = at.checked_add(8).filter(|end| *end <= STACK_COPY)?;
        let word = self.bytes.get(at..end)?;
        let readable = |page: usize| self.header.filled & (1 << page) != 0;
        let pages = readable(at / PAGE) && readable((end - 1) / PAGE);
        pages.then_some(u64::from_le_bytes(word.try_into().ok()?))
    }
}

/// Addresses as places in files, which name the same code in every process. Stops at the first
/// address that belongs to no file (a JIT's, or garbage): nothing above it can be trusted. The
/// second value says whether that happened.
///
/// All but the first are return addresses: each belongs to the call before it, also where a call
/// that does not return is a mapping's last instruction.
pub fn normalize(pcs: &[u64], modules: &MappedModules) -> (Vec<(ModuleId, u64)>, bool) {
    let place = |(index, pc): (usize, &u64)| {
        let back = u64::from(index > 0);
        let (module, offset) = modules.find(pc.checked_sub(back)?)?;
        Some((module, offset.saturating_add(back)))
    };
    let places: Vec<_> = pcs.iter().enumerate().map_while(place).collect();
    let cut = places.len() < pcs.len();
    (places, cut)
}

#[cfg(test)]
mod tests;
