//! One step of a leaf's call-frame information (DWARF 5, section 6.4), as a rule simple enough
//! for the kernel side.
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

use super::elf::{address_of, section};

type Reader<'a> = EndianSlice<'a, LittleEndian>;
type Row = UnwindTableRow<usize>;

/// Frames larger than this are taken for garbage, in bytes.
pub const FRAME_MAX: i64 = 1 << 20;

/// DWARF numbers of the registers that matter.
struct Registers {
    stack_pointer: Register,
    frame_pointer: Register,
    return_address: Register,
}

impl Registers {
    /// psABI x86-64, figure 3.36; aadwarf64, section 4.1.
    fn of(architecture: Architecture) -> Option<Self> {
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

/// No caller can be found for this leaf: there are no tables, or they ask for more than an
/// addition.
pub const NO_RULE: LeafRule =
    LeafRule { status: leaf::NONE, copies: 0, return_address: 0, frame_pointer: leaf::UNCHANGED };

/// The rule for code at a file offset.
pub fn leaf_rule<'a, R: ReadRef<'a>>(file: &object::File<'a, R>, offset: u64) -> LeafRule {
    rule(file, offset).unwrap_or(NO_RULE)
}

fn rule<'a, R: ReadRef<'a>>(file: &object::File<'a, R>, offset: u64) -> Option<LeafRule> {
    let registers = Registers::of(file.architecture())?;
    let pc = address_of(file, offset)?;
    let tables = Tables::of(file)?;
    let mut context = UnwindContext::new();
    from_row(tables.row(&mut context, pc)?, &registers)
}

struct Tables<'a> {
    bases: BaseAddresses,
    eh_frame: Option<Cow<'a, [u8]>>,
    /// Index of `eh_frame`.
    eh_frame_hdr: Option<Cow<'a, [u8]>>,
    debug_frame: Option<Cow<'a, [u8]>>,
}

impl<'a> Tables<'a> {
    fn of<R: ReadRef<'a>>(file: &object::File<'a, R>) -> Option<Self> {
        let address = |name| file.section_by_name(name).map_or(0, |s| s.address());
        Some(Self {
            bases: BaseAddresses::default()
                .set_eh_frame(address(".eh_frame"))
                .set_eh_frame_hdr(address(".eh_frame_hdr"))
                .set_text(address(".text"))
                .set_got(address(".got")),
            eh_frame: section(file, ".eh_frame"),
            eh_frame_hdr: section(file, ".eh_frame_hdr"),
            debug_frame: section(file, ".debug_frame"),
        })
    }

    fn row<'c>(&self, context: &'c mut UnwindContext<usize>, pc: u64) -> Option<&'c Row> {
        if let Some(data) = &self.eh_frame {
            let frames = EhFrame::new(data, LittleEndian);
            let fde = match self.by_index(&frames, pc) {
                Some(fde) => Some(fde),
                None => frames.fde_for_address(&self.bases, pc, EhFrame::cie_from_offset).ok(),
            };
            if let Some(fde) = fde {
                let row = fde.unwind_info_for_address(&frames, &self.bases, context, pc);
                return row.ok();
            }
        }
        let mut frames = DebugFrame::new(self.debug_frame.as_deref()?, LittleEndian);
        frames.set_address_size(8);
        let get_cie = DebugFrame::cie_from_offset;
        let row = frames.unwind_info_for_address(&self.bases, context, pc, get_cie);
        row.ok()
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

fn from_row(row: &Row, registers: &Registers) -> Option<LeafRule> {
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
