//! What is asked of a kernel's types: offsets, and what there is.

use crate::{error::BtfError, type_kind, types::Btf};

impl Btf<'_> {
    /// The kernel has this tracepoint, for programs of type `tp_btf`.
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.named(type_kind::TYPEDEF, &format!("btf_trace_{name}")).is_some()
    }

    /// The kernel's programs may call this helper (`enum bpf_func_id`, include/uapi/linux/bpf.h).
    pub fn has_helper(&self, name: &str) -> bool {
        self.enumerators("bpf_func_id").any(|found| found == format!("BPF_FUNC_{name}").as_bytes())
    }

    /// The names of an enumeration's values; none where there is no such enumeration.
    pub fn enumerators(&self, enumeration: &str) -> impl Iterator<Item = &[u8]> {
        let ty = self.named(type_kind::ENUM, enumeration).into_iter();
        ty.flat_map(move |ty| (0..ty.len()).filter_map(move |i| Some(self.name(self.word(ty.at + 12 + 8 * i)?))))
    }

    /// How many parameters a function has; None where there is no such function.
    pub fn parameters(&self, function: &str) -> Option<u32> {
        let function = self.named(type_kind::FUNC, function)?;
        let prototype = self.by_id(function.size_or_type)?;
        (prototype.kind() == type_kind::FUNC_PROTO).then_some(prototype.len() as u32)
    }

    /// The structure exists and has the field.
    pub fn has_field(&self, structure: &str, path: &str) -> bool {
        self.offset(structure, path).is_ok()
    }

    /// Size of a structure in bytes.
    ///
    /// # Errors
    /// When there is no such structure.
    pub fn size(&self, structure: &str) -> Result<u32, BtfError> {
        let ty = self.named(type_kind::STRUCT, structure);
        ty.map(|ty| ty.size_or_type).ok_or_else(|| BtfError::NoType(structure.to_owned()))
    }

    /// Offset in bytes of `path` (members joined by dots, through anonymous structures and
    /// unions too) from the start of `structure`.
    ///
    /// # Errors
    /// When there is no such structure or field, or the field does not begin at a byte.
    pub fn offset(&self, structure: &str, path: &str) -> Result<u32, BtfError> {
        let ty = self.named(type_kind::STRUCT, structure);
        let mut ty = ty.ok_or_else(|| BtfError::NoType(structure.to_owned()))?;
        let missing = || BtfError::NoField { structure: structure.to_owned(), path: path.to_owned() };
        let mut bits = 0u32;
        for name in path.split('.') {
            let way = self.way_to(ty, name).ok_or_else(missing)?;
            for member in &way {
                bits = bits.checked_add(member.offset).ok_or_else(missing)?;
            }
            let last = way.last().ok_or_else(missing)?;
            ty = self.strip(last.ty).unwrap_or(ty);
        }
        if bits.is_multiple_of(8) { Ok(bits / 8) } else { Err(missing()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::MAGIC;

    /// `struct outer { int a; struct { int b; int c:3; }; typedef-of-struct-with-d e; }` by hand.
    fn sample() -> Vec<u8> {
        let strings = b"\0outer\0a\0b\0c\0e\0d\0t\0btf_trace_x\0call\0bpf_func_id\0BPF_FUNC_y\0";
        let name = |text: &str| {
            let wanted = [text.as_bytes(), b"\0"].concat();
            strings.windows(wanted.len()).position(|w| w == wanted).unwrap() as u32
        };
        let mut types: Vec<u32> = Vec::new();
        types.extend([0, type_kind::INT << 24, 4, 32]); // 1: int
        types.extend([0, type_kind::STRUCT << 24 | 2 | 1 << 31, 8]); // 2: anonymous
        types.extend([name("b"), 1, 0, name("c"), 1, 3 << 24 | 0x21]);
        types.extend([0, type_kind::STRUCT << 24 | 1, 8]); // 3: holds d
        types.extend([name("d"), 1, 32]);
        types.extend([name("t"), type_kind::TYPEDEF << 24, 3]); // 4: typedef of 3
        types.extend([name("outer"), type_kind::STRUCT << 24 | 3, 24]); // 5
        types.extend([name("a"), 1, 0, 0, 2, 32, name("e"), 4, 128]);
        types.extend([name("btf_trace_x"), type_kind::TYPEDEF << 24, 1]); // 6
        types.extend([0, type_kind::FUNC_PROTO << 24 | 2, 1, name("a"), 1, name("b"), 1]); // 7
        types.extend([name("call"), type_kind::FUNC << 24, 7]); // 8
        types.extend([name("bpf_func_id"), type_kind::ENUM << 24 | 1, 4, name("BPF_FUNC_y"), 0]); // 9
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
        let btf = Btf::parse(sample()).unwrap();
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
        let btf = Btf::parse(sample()).unwrap();
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
