//! One frame of a code path.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A place in a program. What is not known is null; module and offset are there whenever the address
/// belongs to a file. Frames of one place share their texts, and so do those of one module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// Its name, demangled.
    pub function: Option<Arc<str>>,
    /// The source file, as the program's debug information names it.
    pub file: Option<Arc<str>>,
    /// The line in that file, from 1.
    pub line: Option<u32>,
    /// Path of the file that the code is mapped from.
    pub module: Option<Arc<str>>,
    /// Build id of that file (ELF note `NT_GNU_BUILD_ID`), in hexadecimal.
    pub build_id: Option<Arc<str>>,
    /// Where in that file the instruction is.
    pub offset: Option<FileOffset>,
    /// The compiler has put the function into the next frame's.
    pub inlined: bool,
}

/// Offset in the module's file, in bytes; written as `0x1f3a0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileOffset(pub u64);

impl fmt::Display for FileOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl Serialize for FileOffset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FileOffset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix("0x").filter(|digits| !digits.starts_with('+'));
        let offset = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        offset.map(Self).ok_or_else(|| D::Error::custom(format_args!("{text:?} is no hexadecimal offset")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_hexadecimal_text() {
        for (offset, text) in [(0, "\"0x0\""), (0x1f3a0, "\"0x1f3a0\""), (u64::MAX, "\"0xffffffffffffffff\"")] {
            assert_eq!(serde_json::to_string(&FileOffset(offset)).unwrap(), text);
            assert_eq!(serde_json::from_str::<FileOffset>(text).unwrap(), FileOffset(offset));
        }
        for bad in ["\"\"", "\"0x\"", "\"1f\"", "\"0x+1\"", "\"0x10000000000000000\"", "\"0xg\"", "7", "null"] {
            assert!(serde_json::from_str::<FileOffset>(bad).is_err(), "{bad}");
        }
    }
}
