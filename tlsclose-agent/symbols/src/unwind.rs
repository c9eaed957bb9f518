//! One step to the caller, as a rule simple enough for the kernel side: by call-frame information
//! (DWARF 5, section 6.4), and where there is none by the code itself.
//!
//! On aarch64 a leaf that still has its return address in the link register gets no rule, for the
//! kernel side keeps no link register; the caller is then missing.

use std::borrow::Cow;

use gimli::{
    BaseAddresses, CfaRule, DebugFrame, EhFrame, EhFrameHdr, EndianSlice, LittleEndian, Register, RegisterRule,
    UnwindContext, UnwindSection, UnwindTableRow,
};
use object::read::ReadRef;
use object::{Architecture, Object, ObjectSection};
use tlsclose_common::facts::{LeafRule, leaf};

use crate::elf::{address_of, section};
use crate::entry_points::EntryPoints;
use crate::instructions::Code;
use crate::return_scan::{Return, returns};
use crate::rule::{Caller, FRAME_MAX};

type Reader<'a> = EndianSlice<'a, LittleEndian>;
type Row = UnwindTableRow<usize>;

/// DWARF numbers of the registers that matter.
pub(crate) struct Registers {
    stack_pointer: Register,
    frame_pointer: Register,
    return_address: Register,
}

impl Registers {
    /// psABI x86-64, figure 3.36; aadwarf64, section 4.1.
    pub fn of(architecture: Architecture) -> Option<Self> {
        let (stack_pointer, frame_pointer, return_address) = match architecture {
            Architecture::X86_64 => (7, 6, 16),
            Architecture::Aarch64 => (31, 29, 30),
            _ => return None,
        };
        Some(Self {
            stack_pointer: Register(stack_pointer),
            frame_pointer: Register(frame_pointer),
            return_address: Register(return_address),
        })
    }
}

/// How to find the caller of the code at a file offset; of a return address, the offset of the
/// call. `data` is what `file` was parsed from.
pub fn caller<'a, R: ReadRef<'a>>(
    file: &object::File<'a, R>,
    data: R,
    starts: &EntryPoints,
    offset: u64,
    is_leaf: bool,
) -> Caller {
    let (Some(registers), Some(pc)) = (Registers::of(file.architecture()), address_of(file, offset)) else {
        return Caller::Unknown;
    };
    let known = by_tables(file, &registers, starts, pc, is_leaf);
    // A panic in Go stands between two functions of which none has called the other.
    if file.architecture() != Architecture::X86_64 || starts.is_go {
        return known.unwrap_or(Caller::FramePointer);
    }
    let code = Code::of(file, data);
    // As it is without the byte that tells a call from what comes behind it.
    let next = pc.saturating_add(u64::from(!is_leaf));
    match known {
        Some(known @ (Caller::Root | Caller::Unknown)) => known,
        _ if !is_leaf && !code.is_behind_call(next) => Caller::Stray,
        Some(known) => known,
        None => match returns(&code, |address| starts.is_function(file, address), next, is_leaf) {
            Return::By(rule) => Caller::By(rule),
            Return::Never => Caller::Root,
            Return::Unclear => Caller::FramePointer,
        },
    }
}

/// None where no table and no symbol says anything.
fn by_tables<'a, R: ReadRef<'a>>(
    file: &object::File<'a, R>,
    registers: &Registers,
    starts: &EntryPoints,
    pc: u64,
    is_leaf: bool,
) -> Option<Caller> {
    let tables = Tables::of(file);
    let mut context = UnwindContext::new();
    if let Some(row) = tables.eh_row(&mut context, pc) {
        return Some(from_row(row, registers));
    }
    // The first code of a program, or of a thread where libc has no tables.
    if starts.contains(pc) {
        return Some(Caller::Root);
    }
    let debug_frame = section(file, ".debug_frame");
    let row = tables.debug_row(debug_frame.as_deref()?, &mut context, pc)?;
    Some(match from_row(row, registers) {
        // Go's functions keep frame pointers, whatever their tables count from.
        Caller::By(_) if starts.is_go && !is_leaf => Caller::FramePointer,
        caller => caller,
    })
}

pub(crate) struct Tables<'a> {
    bases: BaseAddresses,
    eh_frame: Option<Cow<'a, [u8]>>,
    /// Index of `eh_frame`.
    eh_frame_hdr: Option<Cow<'a, [u8]>>,
}

impl<'a> Tables<'a> {
    pub fn of<R: ReadRef<'a>>(file: &object::File<'a, R>) -> Self {
        let address = |name| file.section_by_name(name).map_or(0, |s| s.address());
        Self {
            bases: BaseAddresses::default()
                .set_eh_frame(address(".eh_frame"))
                .set_eh_frame_hdr(address(".eh_frame_hdr"))
                .set_text(address(".text"))
                .set_got(address(".got")),
            eh_frame: section(file, ".eh_frame"),
            eh_frame_hdr: section(file, ".eh_frame_hdr"),
        }
    }

    pub fn eh_row<'c>(&self, context: &'c mut UnwindContext<usize>, pc: u64) -> Option<&'c Row> {
        let frames = EhFrame::new(self.eh_frame.as_ref()?, LittleEndian);
        let fde = match self.by_index(&frames, pc) {
            Some(fde) => fde,
            None => frames.fde_for_address(&self.bases, pc, EhFrame::cie_from_offset).ok()?,
        };
        fde.unwind_info_for_address(&frames, &self.bases, context, pc).ok()
    }

    fn debug_row<'c>(&self, data: &[u8], context: &'c mut UnwindContext<usize>, pc: u64) -> Option<&'c Row> {
        let mut frames = DebugFrame::new(data, LittleEndian);
        frames.set_address_size(8);
        let get_cie = DebugFrame::cie_from_offset;
        frames.unwind_info_for_address(&self.bases, context, pc, get_cie).ok()
    }

    fn by_index<'s>(
        &'s self,
        frames: &EhFrame<Reader<'s>>,
        pc: u64,
    ) -> Option<gimli::FrameDescriptionEntry<Reader<'s>>> {
        let index = EhFrameHdr::new(self.eh_frame_hdr.as_deref()?, LittleEndian);
        let index = index.parse(&self.bases, 8).ok()?;
        let get_cie = EhFrame::cie_from_offset;
        let table = index.table()?;
        table.fde_for_address(frames, &self.bases, pc, get_cie).ok()
    }
}

pub(crate) fn from_row(row: &Row, registers: &Registers) -> Caller {
    // How both psABIs mark the outermost frame.
    if matches!(row.register(registers.return_address), Some(RegisterRule::Undefined)) {
        return Caller::Root;
    }
    by_addition(row, registers).map_or(Caller::Unknown, Caller::By)
}

fn by_addition(row: &Row, registers: &Registers) -> Option<LeafRule> {
    let CfaRule::RegisterAndOffset { register, offset: cfa } = row.cfa() else {
        return None;
    };
    let status = match *register {
        r if r == registers.stack_pointer => leaf::FROM_STACK_POINTER,
        r if r == registers.frame_pointer => leaf::FROM_FRAME_POINTER,
        _ => return None,
    };
    let Some(RegisterRule::Offset(return_address)) = row.register(registers.return_address) else {
        return None;
    };
    let frame_pointer = match row.register(registers.frame_pointer) {
        // By both psABIs a callee preserves it, so that tables need not mention it.
        None | Some(RegisterRule::Undefined | RegisterRule::SameValue) => leaf::UNCHANGED,
        Some(RegisterRule::Offset(saved)) => from_base(*cfa, saved)?,
        _ => return None,
    };
    Some(LeafRule { status, copies: 0, return_address: from_base(*cfa, return_address)?, frame_pointer })
}

/// Distance from the base register of what lies at the frame's address plus `offset`.
fn from_base(cfa: i64, offset: i64) -> Option<i32> {
    let distance = cfa.checked_add(offset)?;
    (-FRAME_MAX..=FRAME_MAX).contains(&distance).then_some(distance as i32)
}
