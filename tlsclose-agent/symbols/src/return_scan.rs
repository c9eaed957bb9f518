//! How code without unwind tables finds its caller: by reading on until it returns.
//!
//! Whatever a function has put on its stack it takes off again before its `ret`. So the
//! instructions from a place on say how far above it the return address is, and where the frame
//! pointer of the caller is kept. musl's system calls need this: it is built without tables and
//! without frame pointers, and its inner functions have no symbols to read on from.

use std::collections::HashMap;

use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};
use object::read::ReadRef;
use tlsclose_common::facts::{LeafRule, leaf};

use crate::instructions::Code;
use crate::rule::FRAME_MAX;

/// Instructions read for one place.
const INSTRUCTIONS_MAX: usize = 4096;

/// What becomes of the code at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    By(LeafRule),
    /// It ends the thread or the program.
    Never,
    /// It jumps to where a register says, moves its stack, or is too long.
    Unclear,
}

/// What the code from `pc` on returns by, behind a call or (a leaf) a system call. `is_function`
/// says whether a function is known to begin at an address.
pub fn returns<'a, R: ReadRef<'a>>(
    code: &Code<R>,
    is_function: impl Fn(u64) -> bool,
    pc: u64,
    is_leaf: bool,
) -> Return {
    let mut reader = Reader {
        code,
        is_function,
        access: InstructionInfoFactory::new(),
        left: INSTRUCTIONS_MAX,
        seen: HashMap::new(),
        is_unclear: false,
    };
    let mut found = Vec::new();
    let registers = Registers { stack_pointer: Location::HERE, frame_pointer: Saved::No, pushed: None };
    let mut paths = vec![Path { at: pc, registers, behind_call: !is_leaf }];
    while let Some(path) = paths.pop() {
        found.extend(reader.follow(path, &mut paths));
    }
    match found.first() {
        _ if reader.left == 0 => Return::Unclear,
        Some(rule) if found.iter().all(|other| other == rule) && (is_leaf || is_aligned(rule)) => Return::By(*rule),
        None if !reader.is_unclear => Return::Never,
        _ => Return::Unclear,
    }
}

/// A distance from one of the registers as they are at the place asked about, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Location {
    from: Register,
    offset: i64,
}

impl Location {
    const HERE: Self = Self { from: Register::RSP, offset: 0 };

    fn up(self, by: i64) -> Option<Self> {
        let offset = self.offset.checked_add(by).filter(|offset| offset.abs() <= FRAME_MAX)?;
        Some(Self { offset, ..self })
    }
}

/// Where the frame pointer of the place asked about has got to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saved {
    /// It is in its register.
    No,
    /// Another one has been loaded, from there.
    At(Location),
    /// Its register holds something else.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Registers {
    stack_pointer: Location,
    frame_pointer: Saved,
    /// Where the frame pointer was last put, and what it was.
    pushed: Option<(Location, Saved)>,
}

struct Path {
    at: u64,
    registers: Registers,
    /// Nothing but padding since a call.
    behind_call: bool,
}

struct Reader<'c, R, F> {
    code: &'c Code<R>,
    is_function: F,
    access: InstructionInfoFactory,
    /// Instructions that may still be read.
    left: usize,
    seen: HashMap<u64, Registers>,
    /// At least one path got lost.
    is_unclear: bool,
}

impl<'a, R: ReadRef<'a>, F: Fn(u64) -> bool> Reader<'_, R, F> {
    /// Follows a path to its end; branches off it are put aside. The rule, where it returns.
    fn follow(&mut self, mut path: Path, branches: &mut Vec<Path>) -> Option<LeafRule> {
        loop {
            // A call that does not return: what comes next is another function.
            if path.behind_call && (self.is_function)(path.at) {
                return None;
            }
            if let Some(before) = self.seen.insert(path.at, path.registers) {
                self.is_unclear |= before != path.registers;
                return None;
            }
            let instruction = self.next(path.at)?;
            if path.behind_call && instruction.mnemonic() == Mnemonic::Nop {
                return self.padding(instruction);
            }
            path.behind_call = instruction.mnemonic() == Mnemonic::Call;
            path.at = instruction.next_ip();
            let target = instruction.near_branch_target();
            match instruction.flow_control() {
                FlowControl::Call | FlowControl::IndirectCall => {}
                FlowControl::Next if instruction.mnemonic() == Mnemonic::Hlt => return None,
                FlowControl::Next => match self.after(&instruction, path.registers) {
                    Some(registers) => path.registers = registers,
                    None => return self.lost(),
                },
                FlowControl::ConditionalBranch => branches.push(Path { at: target, ..path }),
                FlowControl::UnconditionalBranch => path.at = target,
                FlowControl::Return => return rule(path.registers).or_else(|| self.lost()),
                // ud2: it ends here.
                FlowControl::Exception => return None,
                _ => return self.lost(),
            }
        }
    }

    /// The instruction at an address; without it the path is lost.
    fn next(&mut self, at: u64) -> Option<Instruction> {
        self.left = self.left.saturating_sub(1);
        let instruction = self.code.instruction(at).filter(|_| self.left > 0);
        if instruction.is_none() {
            self.is_unclear = true;
        }
        instruction
    }

    /// Between a call and what comes next, either because that is the head of a loop, or because it is another
    /// function and the call does not return.
    fn padding<T>(&mut self, mut padding: Instruction) -> Option<T> {
        while padding.mnemonic() == Mnemonic::Nop {
            padding = self.next(padding.next_ip())?;
        }
        self.is_unclear |= !(self.is_function)(padding.ip());
        None
    }

    fn lost<T>(&mut self) -> Option<T> {
        self.is_unclear = true;
        None
    }

    /// The registers after an instruction that does not branch; None where it moves the stack in
    /// a way that is not understood.
    fn after(&mut self, instruction: &Instruction, before: Registers) -> Option<Registers> {
        let Registers { stack_pointer, frame_pointer, pushed } = before;
        let target = is_register(instruction.op_count() > 0, instruction.op0_kind(), instruction.op0_register());
        let source = is_register(instruction.op_count() > 1, instruction.op1_kind(), instruction.op1_register());
        let moved = || stack_pointer.up(instruction.stack_pointer_increment().into());
        let at = |stack_pointer| Registers { stack_pointer, ..before };
        Some(match (instruction.mnemonic(), target, source) {
            (Mnemonic::Push, Some(Register::RBP), _) => {
                let stack_pointer = moved()?;
                Registers { stack_pointer, pushed: Some((stack_pointer, frame_pointer)), ..before }
            }
            (Mnemonic::Push, ..) => at(moved()?),
            (Mnemonic::Pop, Some(Register::RBP), _) => {
                Registers { frame_pointer: loaded(stack_pointer, pushed), ..at(moved()?) }
            }
            (Mnemonic::Pop, Some(register), _) if register.full_register() != Register::RSP => at(moved()?),
            (Mnemonic::Leave, ..) => {
                let frame = before.frame()?;
                Registers { frame_pointer: loaded(frame, pushed), ..at(frame.up(8)?) }
            }
            (Mnemonic::Add, Some(Register::RSP), _) => at(stack_pointer.up(constant(instruction)?)?),
            (Mnemonic::Sub, Some(Register::RSP), _) => at(stack_pointer.up(constant(instruction)?.checked_neg()?)?),
            (Mnemonic::Lea, Some(Register::RSP), _) => at(before.pointed_to(instruction)?),
            (Mnemonic::Mov, Some(Register::RSP), Some(Register::RBP)) => at(before.frame()?),
            (Mnemonic::Mov, Some(Register::RBP), None) if instruction.op1_kind() == OpKind::Memory => {
                let from = before.pointed_to(instruction);
                Registers { frame_pointer: from.map_or(Saved::Lost, |from| loaded(from, pushed)), ..before }
            }
            (Mnemonic::Mov, None, Some(Register::RBP)) => match before.pointed_to(instruction) {
                Some(to) => Registers { pushed: Some((to, frame_pointer)), ..before },
                None => before,
            },
            _ if self.writes(instruction, Register::RSP) => return None,
            _ if self.writes(instruction, Register::RBP) => Registers { frame_pointer: Saved::Lost, ..before },
            _ => before,
        })
    }

    fn writes(&mut self, instruction: &Instruction, register: Register) -> bool {
        let written =
            |access| !matches!(access, OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess);
        let used = self.access.info(instruction).used_registers().iter();
        used.into_iter().any(|used| used.register().full_register() == register && written(used.access()))
    }
}

impl Registers {
    /// What the frame pointer's register points to.
    fn frame(&self) -> Option<Location> {
        (self.frame_pointer == Saved::No).then_some(Location { from: Register::RBP, offset: 0 })
    }

    /// The place in the stack that a memory operand means.
    fn pointed_to(&self, instruction: &Instruction) -> Option<Location> {
        if instruction.memory_index() != Register::None || instruction.segment_prefix() != Register::None {
            return None;
        }
        let base = match instruction.memory_base() {
            Register::RSP => self.stack_pointer,
            Register::RBP => self.frame()?,
            _ => return None,
        };
        base.up(instruction.memory_displacement64() as i64)
    }
}

/// What the frame pointer is once it was loaded from a place.
fn loaded(from: Location, pushed: Option<(Location, Saved)>) -> Saved {
    match pushed {
        Some((place, saved)) if place == from => saved,
        _ => Saved::At(from),
    }
}

/// The psABI (section 3.2.2) has stacks aligned to 16 bytes wherever a function is called.
fn is_aligned(rule: &LeafRule) -> bool {
    rule.status != leaf::FROM_STACK_POINTER || rule.return_address % 16 == 8
}

fn is_register(is_there: bool, kind: OpKind, register: Register) -> Option<Register> {
    (is_there && kind == OpKind::Register).then_some(register)
}

fn constant(instruction: &Instruction) -> Option<i64> {
    match instruction.op1_kind() {
        OpKind::Immediate8to64 | OpKind::Immediate32to64 => Some(instruction.immediate(1) as i64),
        _ => None,
    }
}

/// What a `ret` at the end of a path says.
fn rule(registers: Registers) -> Option<LeafRule> {
    let Location { from, offset } = registers.stack_pointer;
    // What lies below the stack pointer was put there later.
    let there = |location: Location| {
        let is_there = location.from == from && (from == Register::RBP || location.offset >= 0);
        is_there.then_some(location.offset as i32)
    };
    let frame_pointer = match registers.frame_pointer {
        Saved::No => leaf::UNCHANGED,
        Saved::At(saved) => there(saved)?,
        Saved::Lost => return None,
    };
    let status = if from == Register::RSP { leaf::FROM_STACK_POINTER } else { leaf::FROM_FRAME_POINTER };
    Some(LeafRule { status, copies: 0, return_address: there(Location { from, offset })?, frame_pointer })
}

#[cfg(test)]
mod tests;
