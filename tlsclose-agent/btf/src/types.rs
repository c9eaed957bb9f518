//! The types of a kernel, and where each is.

use std::borrow::Cow;

use crate::{error::BtfError, type_kind};

/// The first two bytes of BTF, in the byte order of its host.
pub const MAGIC: u16 = 0xeb9f;

/// Members without a name that a member is looked for in, one inside the other.
const DEPTH: u32 = 8;

/// Parsed BTF: the bytes of the file, and where each type begins.
pub struct Btf<'a> {
    bytes: Cow<'a, [u8]>,
    /// Where names begin.
    strings: usize,
    /// Offset in the file by type id; id 0 is `void`.
    starts: Vec<usize>,
}

/// A type's fixed part.
#[derive(Clone, Copy, Debug)]
pub struct Type {
    /// Where it is in the file, in bytes.
    pub at: usize,
    /// Offset of its name among the strings.
    pub name: u32,
    /// Kind, number of members, and a flag (`struct btf_type`).
    pub info: u32,
    /// Its size in bytes, or the id of the type that it refers to.
    pub size_or_type: u32,
}

/// A member of a structure or union.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Where its description is in the file, in bytes: name, type, offset.
    pub at: usize,
    /// Its number among the members.
    pub index: usize,
    /// Offset of its name among the strings.
    pub name: u32,
    /// Id of its type.
    pub ty: u32,
    /// In bits, from the start of the structure that it is directly in.
    pub offset: u32,
}

impl Type {
    /// One of [`type_kind`].
    pub fn kind(self) -> u32 {
        (self.info >> 24) & 0x1f
    }

    /// How many members or parameters it has.
    pub fn len(self) -> usize {
        (self.info & 0xffff) as usize
    }

    /// It has none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Offsets of its members carry the size of a bit field in their top byte.
    fn has_bitfields(self) -> bool {
        self.info >> 31 != 0
    }
}

impl<'a> Btf<'a> {
    /// Finds where each type is.
    ///
    /// # Errors
    /// When the bytes are no BTF of this host's byte order, or cut short.
    pub fn parse(bytes: impl Into<Cow<'a, [u8]>>) -> Result<Self, BtfError> {
        let bytes = bytes.into();
        let damaged = BtfError::Damaged;
        let magic = bytes.get(..2).ok_or(damaged("no header"))?;
        if u16::from_ne_bytes([magic[0], magic[1]]) != MAGIC {
            return Err(damaged("wrong magic number"));
        }
        let word = |at| word(&bytes, at).ok_or(damaged("short header"));
        let header = word(4)? as usize;
        let section = |offset: u32, length: u32, what| {
            let start = header.checked_add(offset as usize).ok_or(damaged(what))?;
            let end = start.checked_add(length as usize).filter(|end| *end <= bytes.len());
            end.map(|end| (start, end)).ok_or(damaged(what))
        };
        let (types, end) = section(word(8)?, word(12)?, "types run past the end")?;
        let (strings, _) = section(word(16)?, word(20)?, "strings run past the end")?;
        let mut btf = Self { bytes, strings, starts: vec![0] };
        btf.index(types, end)?;
        Ok(btf)
    }

    fn index(&mut self, mut at: usize, end: usize) -> Result<(), BtfError> {
        while at < end {
            let ty = self.type_at(at).ok_or(BtfError::Damaged("a type is cut short"))?;
            let more = match ty.kind() {
                type_kind::INT | type_kind::VAR | type_kind::DECL_TAG => 4,
                type_kind::ARRAY => 12,
                type_kind::STRUCT | type_kind::UNION | type_kind::DATASEC | type_kind::ENUM64 => ty.len() * 12,
                type_kind::ENUM | type_kind::FUNC_PROTO => ty.len() * 8,
                _ => 0,
            };
            self.starts.push(at);
            at += 12 + more;
        }
        Ok(())
    }

    fn type_at(&self, at: usize) -> Option<Type> {
        let word = |offset| self.word(at + offset);
        Some(Type { at, name: word(0)?, info: word(4)?, size_or_type: word(8)? })
    }

    /// All bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The 32 bits there.
    pub fn word(&self, at: usize) -> Option<u32> {
        word(&self.bytes, at)
    }

    /// A type by its id; None of `void`.
    pub fn by_id(&self, id: u32) -> Option<Type> {
        if id == 0 { None } else { self.type_at(*self.starts.get(id as usize)?) }
    }

    /// A name by its offset; empty where there is none.
    pub fn name(&self, offset: u32) -> &[u8] {
        let rest = self.strings.checked_add(offset as usize).and_then(|at| self.bytes.get(at..)).unwrap_or_default();
        &rest[..rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len())]
    }

    /// The first type of a kind with this name.
    pub fn named(&self, kind: u32, name: &str) -> Option<Type> {
        self.starts[1..]
            .iter()
            .filter_map(|&at| self.type_at(at))
            .find(|ty| ty.kind() == kind && self.name(ty.name) == name.as_bytes())
    }

    /// The type behind typedefs and qualifiers.
    pub fn strip(&self, mut id: u32) -> Option<Type> {
        for _ in 0..32 {
            let ty = self.by_id(id)?;
            match ty.kind() {
                type_kind::TYPEDEF
                | type_kind::VOLATILE
                | type_kind::CONST
                | type_kind::RESTRICT
                | type_kind::TYPE_TAG => id = ty.size_or_type,
                _ => return Some(ty),
            }
        }
        None
    }

    /// A member of a structure or union.
    pub fn member(&self, of: Type, index: usize) -> Option<Member> {
        if !matches!(of.kind(), type_kind::STRUCT | type_kind::UNION) || index >= of.len() {
            return None;
        }
        let at = of.at + 12 + 12 * index;
        let mut offset = self.word(at + 8)?;
        if of.has_bitfields() {
            offset &= 0x00ff_ffff;
        }
        Some(Member { at, index, name: self.word(at)?, ty: self.word(at + 4)?, offset })
    }

    /// The way to a member by its name: those without a name that it is in, outermost first, and itself.
    pub fn way_to(&self, of: Type, name: &str) -> Option<Vec<Member>> {
        self.way_within(of, name, DEPTH)
    }

    fn way_within(&self, of: Type, name: &str, depth: u32) -> Option<Vec<Member>> {
        if depth == 0 {
            return None;
        }
        (0..of.len()).find_map(|index| {
            let member = self.member(of, index)?;
            let found = self.name(member.name);
            if found == name.as_bytes() {
                return Some(vec![member]);
            }
            let inner = found.is_empty().then(|| self.way_within(self.strip(member.ty)?, name, depth - 1))??;
            Some([vec![member], inner].concat())
        })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?))
}
