//! A reader of BTF, the kernel's own description of its types
//! (Documentation/bpf/btf.rst), as far as finding the offset of a field goes.
//!
//! aya keeps its BTF members private; this one is pure, so it is tested on recorded files.

pub mod file;

use std::path::PathBuf;

const MAGIC: u16 = 0xeb9f;

mod kind {
    pub const INT: u32 = 1;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    #[error("cannot read the kernel's type information {}: {error}", path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{} is no regular file", .0.display())]
    NoFile(PathBuf),
    #[error("{} is no BTF yet, {advice}", path.display())]
    Packed { path: PathBuf, advice: &'static str },
    #[error("{} is no BTF", .0.display())]
    NoBtf(PathBuf),
    #[error("the kernel's type information is damaged: {0}")]
    Damaged(&'static str),
    #[error("this kernel has no type `struct {0}`")]
    NoType(String),
    #[error("this kernel has no field `{path}` in `struct {structure}`")]
    NoField { structure: String, path: String },
}

/// Parsed BTF: the raw bytes and where each type begins.
pub struct Btf {
    types: Vec<u8>,
    strings: Vec<u8>,
    /// Offset in `types` by type id; id 0 is `void`.
    starts: Vec<u32>,
}

/// A type's fixed part.
#[derive(Clone, Copy)]
struct Type {
    at: usize,
    name: u32,
    info: u32,
    size_or_type: u32,
}

impl Type {
    fn kind(self) -> u32 {
        (self.info >> 24) & 0x1f
    }
    fn vlen(self) -> usize {
        (self.info & 0xffff) as usize
    }
    /// Member offsets carry a bitfield size in their top byte.
    fn has_bitfields(self) -> bool {
        self.info >> 31 != 0
    }
}

impl Btf {
    pub fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        let damaged = BtfError::Damaged;
        let magic = bytes.get(..2).ok_or(damaged("no header"))?;
        if u16::from_ne_bytes([magic[0], magic[1]]) != MAGIC {
            return Err(damaged("wrong magic number"));
        }
        let word = |at| word(bytes, at).ok_or(damaged("short header"));
        let header = word(4)? as usize;
        let section = |offset: u32, length: u32, what| {
            let start = header.checked_add(offset as usize).ok_or(damaged(what))?;
            let end = start.checked_add(length as usize).ok_or(damaged(what))?;
            bytes.get(start..end).map(<[u8]>::to_vec).ok_or(damaged(what))
        };
        let types = section(word(8)?, word(12)?, "types run past the end")?;
        let strings = section(word(16)?, word(20)?, "strings run past the end")?;
        let mut btf = Self { types, strings, starts: vec![0] };
        btf.index()?;
        Ok(btf)
    }

    fn index(&mut self) -> Result<(), BtfError> {
        let mut at = 0;
        while at < self.types.len() {
            let ty = self.type_at(at).ok_or(BtfError::Damaged("a type is cut short"))?;
            let extra = match ty.kind() {
                kind::INT | kind::VAR | kind::DECL_TAG => 4,
                kind::ARRAY => 12,
                kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => ty.vlen() * 12,
                kind::ENUM | kind::FUNC_PROTO => ty.vlen() * 8,
                _ => 0,
            };
            self.starts.push(at as u32);
            at += 12 + extra;
        }
        Ok(())
    }

    fn type_at(&self, at: usize) -> Option<Type> {
        let word = |offset| word(&self.types, at + offset);
        Some(Type { at, name: word(0)?, info: word(4)?, size_or_type: word(8)? })
    }

    fn by_id(&self, id: u32) -> Option<Type> {
        if id == 0 { None } else { self.type_at(*self.starts.get(id as usize)? as usize) }
    }

    fn name(&self, offset: u32) -> &[u8] {
        let rest = self.strings.get(offset as usize..).unwrap_or_default();
        &rest[..rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len())]
    }

    fn find(&self, wanted: impl Fn(u32) -> bool, name: &str) -> Option<Type> {
        self.starts[1..]
            .iter()
            .filter_map(|&at| self.type_at(at as usize))
            .find(|ty| wanted(ty.kind()) && self.name(ty.name) == name.as_bytes())
    }

    /// The kernel has this tracepoint, for programs of type `tp_btf`.
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.find(|kind| kind == kind::TYPEDEF, &format!("btf_trace_{name}")).is_some()
    }

    /// The kernel's programs may call this helper (`enum bpf_func_id`, include/uapi/linux/bpf.h).
    pub fn has_helper(&self, name: &str) -> bool {
        self.has_enumerator("bpf_func_id", &format!("BPF_FUNC_{name}"))
    }

    /// How many parameters a function has; None where there is no such function.
    pub fn parameters(&self, function: &str) -> Option<u32> {
        let function = self.find(|kind| kind == kind::FUNC, function)?;
        let prototype = self.by_id(function.size_or_type)?;
        (prototype.kind() == kind::FUNC_PROTO).then_some(prototype.vlen() as u32)
    }

    /// The enumeration exists and has the enumerator.
    fn has_enumerator(&self, enumeration: &str, name: &str) -> bool {
        let Some(ty) = self.find(|kind| kind == kind::ENUM, enumeration) else { return false };
        (0..ty.vlen())
            .any(|i| word(&self.types, ty.at + 12 + i * 8).is_some_and(|offset| self.name(offset) == name.as_bytes()))
    }

    /// The structure exists and has the field.
    pub fn has_field(&self, structure: &str, path: &str) -> bool {
        self.offset(structure, path).is_ok()
    }

    /// Size of a structure in bytes.
    pub fn size(&self, structure: &str) -> Result<u32, BtfError> {
        let ty = self.find(|kind| kind == kind::STRUCT, structure);
        ty.map(|ty| ty.size_or_type).ok_or_else(|| BtfError::NoType(structure.to_owned()))
    }

    /// Offset in bytes of `path` (members joined by dots, through anonymous structures and
    /// unions too) from the start of `structure`.
    pub fn offset(&self, structure: &str, path: &str) -> Result<u32, BtfError> {
        let mut ty =
            self.find(|kind| kind == kind::STRUCT, structure).ok_or_else(|| BtfError::NoType(structure.to_owned()))?;
        let missing = || BtfError::NoField { structure: structure.to_owned(), path: path.to_owned() };
        let mut bits = 0;
        for member in path.split('.') {
            let (offset, next) = self.member(ty, member, 8).ok_or_else(missing)?;
            bits += offset;
            ty = self.strip(next).unwrap_or(ty);
        }
        if bits % 8 == 0 { Ok(bits / 8) } else { Err(missing()) }
    }

    /// Offset in bits and type id of a member, looked for in anonymous members as well.
    fn member(&self, ty: Type, name: &str, depth: u32) -> Option<(u32, u32)> {
        if !matches!(ty.kind(), kind::STRUCT | kind::UNION) || depth == 0 {
            return None;
        }
        for i in 0..ty.vlen() {
            let at = ty.at + 12 + i * 12;
            let (member, id) = (word(&self.types, at)?, word(&self.types, at + 4)?);
            let mut offset = word(&self.types, at + 8)?;
            if ty.has_bitfields() {
                offset &= 0x00ff_ffff;
            }
            let found = self.name(member);
            if found == name.as_bytes() {
                return Some((offset, id));
            }
            if found.is_empty()
                && let Some((inner, id)) = self.member(self.strip(id)?, name, depth - 1)
            {
                return Some((offset + inner, id));
            }
        }
        None
    }

    /// The type behind typedefs and qualifiers.
    fn strip(&self, mut id: u32) -> Option<Type> {
        for _ in 0..32 {
            let ty = self.by_id(id)?;
            match ty.kind() {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => id = ty.size_or_type,
                _ => return Some(ty),
            }
        }
        None
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct outer { int a; struct { int b; int c:3; }; typedef-of-struct-with-d e; }` by hand.
    fn sample() -> Vec<u8> {
        let strings = b"\0outer\0a\0b\0c\0e\0d\0t\0btf_trace_x\0call\0bpf_func_id\0BPF_FUNC_y\0";
        let name = |text: &str| {
            let wanted = [text.as_bytes(), b"\0"].concat();
            strings.windows(wanted.len()).position(|w| w == wanted).unwrap() as u32
        };
        let mut types: Vec<u32> = Vec::new();
        types.extend([0, kind::INT << 24, 4, 32]); // 1: int
        types.extend([0, kind::STRUCT << 24 | 2 | 1 << 31, 8]); // 2: anonymous
        types.extend([name("b"), 1, 0, name("c"), 1, 3 << 24 | 33]);
        types.extend([0, kind::STRUCT << 24 | 1, 8]); // 3: holds d
        types.extend([name("d"), 1, 32]);
        types.extend([name("t"), kind::TYPEDEF << 24, 3]); // 4: typedef of 3
        types.extend([name("outer"), kind::STRUCT << 24 | 3, 24]); // 5
        types.extend([name("a"), 1, 0, 0, 2, 32, name("e"), 4, 128]);
        types.extend([name("btf_trace_x"), kind::TYPEDEF << 24, 1]); // 6
        types.extend([0, kind::FUNC_PROTO << 24 | 2, 1, name("a"), 1, name("b"), 1]); // 7
        types.extend([name("call"), kind::FUNC << 24, 7]); // 8
        types.extend([name("bpf_func_id"), kind::ENUM << 24 | 1, 4, name("BPF_FUNC_y"), 0]); // 9
        let types: Vec<u8> = types.iter().flat_map(|w| w.to_ne_bytes()).collect();
        let mut file = Vec::new();
        file.extend(MAGIC.to_ne_bytes());
        file.extend([1, 0]);
        for w in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            file.extend(w.to_ne_bytes());
        }
        file.extend(types);
        file.extend(strings);
        file
    }

    #[test]
    fn offsets_go_through_anonymous_members_and_typedefs() {
        let btf = Btf::parse(&sample()).unwrap();
        assert_eq!(btf.offset("outer", "a").unwrap(), 0);
        assert_eq!(btf.offset("outer", "b").unwrap(), 4);
        assert_eq!(btf.offset("outer", "e").unwrap(), 16);
        assert_eq!(btf.offset("outer", "e.d").unwrap(), 20);
        assert!(btf.has_tracepoint("x"));
        assert!(!btf.has_tracepoint("y"));
        assert_eq!(btf.parameters("call"), Some(2));
        assert_eq!(btf.parameters("x"), None);
        assert!(btf.has_helper("y"));
        assert!(!btf.has_helper("x"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let btf = Btf::parse(&sample()).unwrap();
        let error = |structure, path| btf.offset(structure, path).unwrap_err().to_string();
        assert_eq!(error("inner", "a"), "this kernel has no type `struct inner`");
        assert_eq!(error("outer", "z"), "this kernel has no field `z` in `struct outer`");
        assert_eq!(error("outer", "c"), "this kernel has no field `c` in `struct outer`", "not on a byte");
    }

    #[test]
    fn damaged_files_are_refused() {
        let whole = sample();
        for length in 0..whole.len() {
            // Cut anywhere, it either still parses or says why not; it never panics.
            let _ = Btf::parse(&whole[..length]);
        }
        assert!(Btf::parse(b"\x7fELF").is_err());
    }
}
