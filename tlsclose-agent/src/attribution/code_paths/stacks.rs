//! Program counters out of what the kernel side recorded of a stack.

use std::cell::Cell;

use tlsclose_common::facts::{LeafRule, StackHeader, leaf};
use tlsclose_common::limits::{PAGE, STACK_SPAN};

use crate::attribution::modules::{CodePlace, MappedModules};

/// Frames of one copied stack.
const FRAMES_MAX: usize = 512;

/// Longest sequence of calls whose recursion is folded.
const CYCLE_MAX: usize = 4;

/// What to do at a frame of a copied stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Go to the caller by this rule.
    By(LeafRule),
    /// The frame is the last one that can be trusted.
    Stop,
}

/// What became of a copied stack.
#[derive(Debug)]
pub struct Walk {
    /// Program counters, innermost first.
    pub pcs: Vec<u64>,
    /// It ended because the copy did.
    pub left_copy: bool,
    /// How far above the stack pointer words were used, in bytes.
    pub reach: u64,
}

/// Unwinds a copied stack. `step` is asked for each frame, by depth and program counter; frames
/// with no rule ([`leaf::NONE`]) are left by their frame pointer. Each frame lies above the one
/// before. `bytes` is `StackCopy::pages`; its contents are the process's to choose.
pub fn walk_copy(header: &StackHeader, bytes: &[u8], mut step: impl FnMut(usize, u64) -> Step) -> Walk {
    let stack = CopiedStack { header, bytes, left: Cell::new(false), reach: Cell::new(0) };
    let mut frame = FrameRegisters { pc: header.pc, stack_pointer: header.sp, frame_pointer: header.fp };
    let mut pcs = Vec::new();
    while pcs.len() < FRAMES_MAX {
        pcs.push(frame.pc);
        let Step::By(rule) = step(pcs.len() - 1, frame.pc) else { break };
        match stack.caller(&frame, rule) {
            Some(caller) if caller.stack_pointer > frame.stack_pointer => frame = caller,
            _ => break,
        }
    }
    Walk { pcs, left_copy: stack.left.get(), reach: stack.reach.get() }
}

/// Registers in a frame, those of its callers as they are once the inner ones have returned.
struct FrameRegisters {
    pc: u64,
    stack_pointer: u64,
    frame_pointer: u64,
}

struct CopiedStack<'a> {
    header: &'a StackHeader,
    bytes: &'a [u8],
    /// A word was asked for that lies in the stack, but above the copy.
    left: Cell<bool>,
    reach: Cell<u64>,
}

impl CopiedStack<'_> {
    fn caller(&self, frame: &FrameRegisters, rule: LeafRule) -> Option<FrameRegisters> {
        let base = match rule.status {
            leaf::FROM_STACK_POINTER => frame.stack_pointer,
            leaf::FROM_FRAME_POINTER => frame.frame_pointer,
            _ => return self.caller_by_frame_pointer(frame),
        };
        let at = base.checked_add_signed(rule.return_address.into())?;
        let frame_pointer = match rule.frame_pointer {
            leaf::UNCHANGED => frame.frame_pointer,
            offset => self.word(base.checked_add_signed(offset.into())?)?,
        };
        // On x86-64 a call pushes the return address last: the caller's frame ends above it.
        Some(FrameRegisters { pc: self.code(at)?, stack_pointer: at.checked_add(8)?, frame_pointer })
    }

    fn caller_by_frame_pointer(&self, frame: &FrameRegisters) -> Option<FrameRegisters> {
        let fp = frame.frame_pointer;
        if fp < frame.stack_pointer || !fp.is_multiple_of(8) {
            return None;
        }
        let pc = self.code(fp.checked_add(8)?)?;
        Some(FrameRegisters { pc, stack_pointer: fp.checked_add(16)?, frame_pointer: self.word(fp)? })
    }

    /// A word that may be a return address.
    fn code(&self, address: u64) -> Option<u64> {
        self.word(address).filter(|pc| *pc != 0)
    }

    /// The eight bytes at `address`, if they lie at or above the stack pointer in copied pages.
    fn word(&self, address: u64) -> Option<u64> {
        let page_start = self.header.sp - self.header.sp % PAGE as u64;
        if address < self.header.sp {
            return None;
        }
        // Just as far for every stack pointer, so that a stack that does not fit is always cut at
        // the same frame.
        let reach = self.bytes.len().saturating_sub(PAGE) as u64;
        let above = address - self.header.sp;
        if above > reach.saturating_sub(8) {
            self.left.set(self.left.get() || above < STACK_SPAN);
            return None;
        }
        // The process chose the stack pointer: an address may be the last there is, what lies above it never is.
        self.reach.set(self.reach.get().max(above + 8));
        let at = usize::try_from(address - page_start).ok()?;
        let end = at + 8;
        let word = self.bytes.get(at..end)?;
        let readable = |page: usize| page < 64 && self.header.filled & (1 << page) != 0;
        let pages = readable(at / PAGE) && readable((end - 1) / PAGE);
        pages.then_some(u64::from_le_bytes(word.try_into().ok()?))
    }
}

/// Recursion, shown twice however deep it went: what repeats is the same cause, and sites and
/// paths stay few. Cycles of up to [`CYCLE_MAX`] calls are folded.
pub fn fold<T: PartialEq>(path: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut folded = Vec::new();
    for place in path {
        folded.push(place);
        for cycle in 1..=CYCLE_MAX {
            let Some(start) = folded.len().checked_sub(3 * cycle) else { break };
            let (first, rest) = folded[start..].split_at(cycle);
            if rest.chunks(cycle).all(|again| again == first) {
                folded.truncate(start + 2 * cycle);
                break;
            }
        }
    }
    folded
}

/// Program counters as places in files.
#[derive(Debug, PartialEq)]
pub struct Normalized {
    /// Innermost first.
    pub places: Vec<CodePlace>,
    /// An address belongs to no file: it and those behind it are missing.
    pub is_cut: bool,
}

/// Addresses as places in files, which name the same code in every process. Stops at the first
/// address that belongs to no file (a JIT's, or garbage): nothing above it can be trusted.
///
/// All but the first are return addresses: each belongs to the call before it, also where a call
/// that does not return is a mapping's last instruction.
pub fn normalize(pcs: &[u64], modules: &MappedModules) -> Normalized {
    let place = |(index, pc): (usize, &u64)| {
        let back = u64::from(index > 0);
        let (module, offset) = modules.find(pc.checked_sub(back)?)?;
        Some((module, offset.saturating_add(back)))
    };
    let places: Vec<_> = pcs.iter().enumerate().map_while(place).collect();
    let is_cut = places.len() < pcs.len();
    Normalized { places, is_cut }
}

#[cfg(test)]
mod tests;
