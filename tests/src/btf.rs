//! The running kernel's type information (BTF), with a member moved or names taken out: what a description
//! of another kernel comes to. The format is in Documentation/bpf/btf.rst.

use std::fs;
use std::path::Path;

/// Where the kernel shows its types.
pub const OF_THIS_KERNEL: &str = "/sys/kernel/btf/vmlinux";

const STRUCT: u32 = 4;
const UNION: u32 = 5;

/// Writes a copy in which `member` of `structure` lies so many bytes further on.
///
/// # Panics
/// When there is no such member.
pub fn with_moved_member(structure: &str, member: &str, bytes: i32, to: &Path) {
    let mut types = Types::read(Path::new(OF_THIS_KERNEL));
    let id = types.structure(structure);
    let at = id.and_then(|id| types.member(id, member)).unwrap_or_else(|| panic!("no {structure}.{member}"));
    // The top byte of a structure with bit fields is the size of one.
    let offset = types.word(at + 8).wrapping_add_signed(8 * bytes);
    types.bytes[at + 8..at + 12].copy_from_slice(&offset.to_ne_bytes());
    fs::write(to, types.bytes).expect("a copy of the types");
}

/// Writes a copy in which nothing has one of these names.
///
/// # Panics
/// When it cannot be written.
pub fn without_names(names: &[&str], to: &Path) {
    let mut bytes = Types::read(Path::new(OF_THIS_KERNEL)).bytes;
    for name in names {
        let whole = [b"\0", name.as_bytes(), b"\0"].concat();
        // A kernel that has none is one already.
        while let Some(at) = bytes.windows(whole.len()).position(|text| text == whole) {
            bytes[at + 1] = b'?';
        }
    }
    fs::write(to, bytes).expect("a copy of the types");
}

struct Types {
    bytes: Vec<u8>,
    strings: usize,
    /// Where each type is, by its number.
    places: Vec<usize>,
}

impl Types {
    fn read(file: &Path) -> Types {
        let bytes = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut types = Types { bytes, strings: 0, places: vec![0] };
        let header = types.word(4) as usize;
        types.strings = header + types.word(16) as usize;
        let mut at = header + types.word(8) as usize;
        let end = at + types.word(12) as usize;
        while at < end {
            types.places.push(at);
            let (kind, members) = types.kind(at);
            at += 12
                + match kind {
                    1 | 14 | 17 => 4,
                    3 => 12,
                    STRUCT | UNION | 15 | 19 => 12 * members,
                    6 | 13 => 8 * members,
                    _ => 0,
                };
        }
        types
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.bytes[at..at + 4].try_into().expect("four bytes"))
    }

    /// A type's kind and the number of its members.
    fn kind(&self, at: usize) -> (u32, usize) {
        let info = self.word(at + 4);
        (info >> 24 & 31, (info & 0xffff) as usize)
    }

    fn is_named(&self, at: usize, name: &str) -> bool {
        let text = &self.bytes[self.strings + self.word(at) as usize..];
        text.starts_with(name.as_bytes()) && text.get(name.len()) == Some(&0)
    }

    fn structure(&self, name: &str) -> Option<usize> {
        let mut places = self.places[1..].iter().copied();
        places.find(|&at| self.kind(at).0 == STRUCT && self.is_named(at, name))
    }

    /// Where the description of a member is, in members without a name as well.
    fn member(&self, of: usize, name: &str) -> Option<usize> {
        let (kind, members) = self.kind(of);
        let members = if matches!(kind, STRUCT | UNION) { members } else { 0 };
        (0..members).map(|i| of + 12 + 12 * i).find_map(|at| {
            if self.is_named(at, name) {
                return Some(at);
            }
            let inner = self.places[self.word(at + 4) as usize];
            if self.is_named(at, "") { self.member(inner, name) } else { None }
        })
    }
}
