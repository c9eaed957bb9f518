//! Function names as their authors wrote them.

use std::fmt::{self, Write};

use crate::protocol::NAME_MAX;

/// A symbol longer than this is left as it is, in bytes.
const MANGLED_MAX: usize = 16 * 1024;

/// The readable form of a Rust or C++ symbol; any other comes back unchanged, because plain C
/// names can also be read as mangled C++ types (`h` is `unsigned char`). At most [`NAME_MAX`]
/// bytes.
pub fn demangle(symbol: &str) -> String {
    let readable = match symbol {
        _ if symbol.len() > MANGLED_MAX => None,
        _ if symbol.starts_with("_R") || is_legacy_rust(symbol) => rust(symbol),
        _ if symbol.starts_with("_Z") => cpp(symbol),
        _ => None,
    };
    readable.unwrap_or_else(|| cut(symbol, NAME_MAX).to_owned())
}

/// The longest prefix of at most `max` bytes.
pub fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// rustc's old scheme is C++'s with a hash as the last part: `17h` and 16 hexadecimal digits.
fn is_legacy_rust(symbol: &str) -> bool {
    let Some((_, hash)) = symbol.rsplit_once("17h") else {
        return false;
    };
    let bytes = hash.as_bytes();
    symbol.starts_with("_ZN") && bytes.get(16) == Some(&b'E') && bytes[..16].iter().all(u8::is_ascii_hexdigit)
}

/// Without the hash, which differs in every build.
fn rust(symbol: &str) -> Option<String> {
    let name = rustc_demangle::try_demangle(symbol).ok()?;
    let mut out = Bounded::default();
    let written = write!(out, "{name:#}");
    out.after(written)
}

fn cpp(symbol: &str) -> Option<String> {
    let name = cpp_demangle::Symbol::new(symbol).ok()?;
    let options = cpp_demangle::DemangleOptions::default();
    let mut out = Bounded::default();
    let written = name.structured_demangle(&mut out, &options);
    out.after(written)
}

/// A string that stops growing at [`NAME_MAX`]: a short symbol can stand for an endless name.
#[derive(Default)]
struct Bounded {
    text: String,
    full: bool,
}

impl Bounded {
    /// The name, unless writing it failed for another reason than its length.
    fn after(self, written: fmt::Result) -> Option<String> {
        let whole = written.is_ok() || self.full;
        (whole && !self.text.is_empty()).then_some(self.text)
    }
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = NAME_MAX - self.text.len();
        self.text.push_str(cut(text, room));
        self.full = text.len() > room;
        if self.full { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_they_were_written() {
        for (symbol, name) in [
            ("h", "h"),
            ("main", "main"),
            ("i", "i"),
            ("accept4", "accept4"),
            ("_ZN4core3fmt9Arguments6new_v117h0123456789abcdefE", "core::fmt::Arguments::new_v1"),
            ("_ZN4core3fmt9Arguments6new_v117h0123456789abcdefE.llvm.42", "core::fmt::Arguments::new_v1"),
            ("_RNvCs15kBYyAo9fc_7mycrate7example", "mycrate::example"),
            ("_ZN6Server6acceptEv", "Server::accept()"),
            ("_ZN3foo3barEi", "foo::bar(int)"),
            ("_ZN3foo3barEi.cold", "foo::bar(int) [clone .cold]"),
            ("_Z", "_Z"),
            ("_R", "_R"),
            ("_ZN17h", "_ZN17h"),
            ("", ""),
        ] {
            assert_eq!(demangle(symbol), name);
        }
    }

    #[test]
    fn names_are_bounded() {
        assert_eq!(demangle(&"x".repeat(1 << 20)).len(), NAME_MAX);
        assert_eq!(cut("aé", 2), "a");
        let doubling = format!("_Z1fI{}E", "S_S_".repeat(100));
        assert!(demangle(&doubling).len() <= NAME_MAX);
    }

    proptest::proptest! {
        #[test]
        fn no_symbol_panics(symbol in "(_Z|_R|_ZN)?[A-Za-z0-9_$.]{0,60}") {
            assert!(demangle(&symbol).len() <= NAME_MAX);
        }
    }
}
