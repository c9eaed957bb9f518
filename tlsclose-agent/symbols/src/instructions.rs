//! Machine code of x86-64 in an ELF file, by the addresses that it was linked for.

use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic};
use object::read::ReadRef;
use object::{Object, ObjectSegment, SegmentFlags, elf};

/// Code is read in pieces of this size, in bytes.
const PIECE: u64 = 256;

/// The longest instruction (Intel SDM, volume 2, section 2.3.11), in bytes.
const INSTRUCTION_MAX: u64 = 15;

/// How long a call can be, in bytes: from one by a register to one that is padded with prefixes.
const CALL_LENGTHS: Range<u64> = 2..11;

/// The code of a file.
pub struct Code<R> {
    data: R,
    segments: Vec<Segment>,
}

/// Of what is executed, the part that the file holds.
struct Segment {
    addresses: Range<u64>,
    /// Where it begins in the file.
    offset: u64,
}

impl<'a, R: ReadRef<'a>> Code<R> {
    /// `data` is what `file` was parsed from.
    pub fn of(file: &object::File<'a, R>, data: R) -> Self {
        let is_code = |segment: &object::Segment<'a, '_, R>| matches!(segment.flags(), SegmentFlags::Elf { p_flags, .. } if p_flags.contains(elf::PF_X));
        let segments = file.segments().filter(is_code).map(|segment| {
            let (offset, size) = segment.file_range();
            Segment { addresses: segment.address()..segment.address().saturating_add(size), offset }
        });
        Self { data, segments: segments.collect() }
    }

    #[cfg(test)]
    pub fn of_bytes(data: R) -> Self {
        let size = data.len().unwrap_or_default();
        Self { data, segments: vec![Segment { addresses: 0..size, offset: 0 }] }
    }

    /// None where there is no code, or nothing that decodes.
    pub fn instruction(&self, address: u64) -> Option<Instruction> {
        let bytes = self.bytes(address)?;
        let instruction = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).decode();
        (!instruction.is_invalid()).then_some(instruction)
    }

    /// A call ends just before `address`, as is so for every return address.
    pub fn is_behind_call(&self, address: u64) -> bool {
        let is_call = |length| {
            let instruction = address.checked_sub(length).and_then(|start| self.instruction(start));
            instruction.is_some_and(|found| found.mnemonic() == Mnemonic::Call && found.next_ip() == address)
        };
        CALL_LENGTHS.into_iter().any(is_call)
    }

    /// The code from `address` on, enough for one instruction.
    fn bytes(&self, address: u64) -> Option<&'a [u8]> {
        let segment = self.segments.iter().find(|segment| segment.addresses.contains(&address))?;
        let within = address - segment.addresses.start;
        let start = within - within % PIECE;
        let left = segment.addresses.end - segment.addresses.start - start;
        let size = left.min(PIECE + INSTRUCTION_MAX);
        let piece = self.data.read_bytes_at(segment.offset.checked_add(start)?, size).ok()?;
        piece.get((within - start) as usize..)
    }
}
