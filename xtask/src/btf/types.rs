//! Reading BTF (Documentation/bpf/btf.rst), as far as taking parts out of it goes.

use anyhow::{Context, Result};

pub mod kind {
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const TYPEDEF: u32 = 8;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
}

pub const MAGIC: u16 = 0xeb9f;

/// All types of a kernel.
pub struct Types<'a> {
    bytes: &'a [u8],
    strings: usize,
    /// Where each type begins, by its number.
    places: Vec<usize>,
}

/// A type, or a member of one: three words.
#[derive(Clone, Copy)]
pub struct Entry {
    pub at: usize,
    pub name: u32,
    pub second: u32,
    pub third: u32,
}

impl Entry {
    /// Of a type.
    pub fn kind(self) -> u32 {
        self.second >> 24 & 31
    }

    /// Of a type: how many members or parameters it has.
    pub fn members(self) -> usize {
        (self.second & 0xffff) as usize
    }
}

impl<'a> Types<'a> {
    pub fn new(bytes: &'a [u8]) -> Result<Types<'a>> {
        let mut types = Types { bytes, strings: 0, places: vec![0] };
        let header = |types: &Types, at| types.word(at).map(|word| word as usize).context("the header is cut short");
        let start = header(&types, 4)?;
        types.strings = start + header(&types, 16)?;
        let mut at = start + header(&types, 8)?;
        let end = at + header(&types, 12)?;
        while at < end {
            types.places.push(at);
            let entry = types.entry(at).context("a type is cut short")?;
            at += 12
                + match entry.kind() {
                    1 | 14 | 17 => 4,
                    3 => 12,
                    kind::STRUCT | kind::UNION | 15 | 19 => 12 * entry.members(),
                    kind::ENUM | kind::FUNC_PROTO => 8 * entry.members(),
                    _ => 0,
                };
        }
        Ok(types)
    }

    pub fn word(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes.get(at..at + 4)?.try_into().ok()?))
    }

    pub fn entry(&self, at: usize) -> Option<Entry> {
        Some(Entry { at, name: self.word(at)?, second: self.word(at + 4)?, third: self.word(at + 8)? })
    }

    pub fn text(&self, name: u32) -> &'a [u8] {
        let rest = self.bytes.get(self.strings + name as usize..).unwrap_or_default();
        rest.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    pub fn named(&self, kind: u32, name: &str) -> Option<Entry> {
        let mut all = self.places[1..].iter().filter_map(|&at| self.entry(at));
        all.find(|entry| entry.kind() == kind && self.text(entry.name) == name.as_bytes())
    }

    /// The type of this number, behind typedefs and qualifiers.
    pub fn bare(&self, mut number: u32) -> Option<Entry> {
        for _ in 0..32 {
            let at = *self.places.get(number as usize).filter(|&&at| at != 0)?;
            let entry = self.entry(at)?;
            match entry.kind() {
                kind::TYPEDEF | 9 | 10 | 11 | 18 => number = entry.third,
                _ => return Some(entry),
            }
        }
        None
    }

    /// A member of a structure or union: its index, and the indices of those without a name that it
    /// is in, outermost first.
    pub fn member(&self, of: Entry, name: &str) -> Option<Vec<usize>> {
        if !matches!(of.kind(), kind::STRUCT | kind::UNION) {
            return None;
        }
        (0..of.members()).find_map(|index| {
            let member = self.entry(of.at + 12 + 12 * index)?;
            let text = self.text(member.name);
            if text == name.as_bytes() {
                return Some(vec![index]);
            }
            let inner = if text.is_empty() { self.member(self.bare(member.second)?, name)? } else { return None };
            Some([vec![index], inner].concat())
        })
    }
}
