//! The running kernel's type information (BTF), with a member moved or names taken out: what a description
//! of another kernel comes to.

use std::fs;
use std::path::Path;

use tlsclose_btf::{Btf, type_kind};

/// Where the kernel shows its types.
pub const OF_THIS_KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// Writes a copy in which `member` of `structure` lies so many bytes further on.
///
/// # Panics
/// When there is no such member.
pub fn with_moved_member(structure: &str, member: &str, bytes: i32, to: &Path) {
    let types = Btf::parse(of_this_kernel()).expect("the kernel's types");
    let of = types.named(type_kind::STRUCT, structure);
    let way = of.and_then(|of| types.way_to(of, member)).unwrap_or_else(|| panic!("no {structure}.{member}"));
    // The top byte of a structure with bit fields is the size of one.
    let at = way.last().expect("a member").at + 8;
    let offset = types.word(at).expect("an offset").wrapping_add_signed(8 * bytes);
    let mut copy = types.bytes().to_vec();
    copy[at..at + 4].copy_from_slice(&offset.to_ne_bytes());
    fs::write(to, copy).expect("a copy of the types");
}

/// Writes a copy in which nothing has one of these names.
///
/// # Panics
/// When it cannot be written.
pub fn without_names(names: &[&str], to: &Path) {
    let mut bytes = of_this_kernel();
    for name in names {
        let whole = [b"\0", name.as_bytes(), b"\0"].concat();
        // A kernel that has none is one already.
        while let Some(at) = bytes.windows(whole.len()).position(|text| text == whole) {
            bytes[at + 1] = b'?';
        }
    }
    fs::write(to, bytes).expect("a copy of the types");
}

fn of_this_kernel() -> Vec<u8> {
    fs::read(OF_THIS_KERNEL).unwrap_or_else(|error| panic!("{OF_THIS_KERNEL}: {error}"))
}
