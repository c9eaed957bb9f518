//! CPython in an ELF file: where its runtime is, and which version it is.

use object::elf::PF_X;
use object::read::ReadRef;
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, SegmentFlags};
use serde::{Deserialize, Serialize};

/// Bytes of the runtime that are looked at: `_Py_DebugOffsets` has some 800.
const HEAD_MAX: u64 = 1024;

/// What a file says about the interpreter in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Address of `_PyRuntime`, counted from where the beginning of the file is mapped when its
    /// code is; modulo 2^64.
    pub address: u64,
    /// In bytes.
    pub size: u64,
    /// `Py_Version`, since 3.11: PY_VERSION_HEX.
    pub version: Option<u64>,
    /// How it begins, as far as the file holds that.
    pub head: Vec<u8>,
}

/// None where the file holds no CPython. Other modules refer to the runtime, too; this one must
/// define it.
pub fn runtime<'a, R: ReadRef<'a>>(file: &object::File<'a, R>) -> Option<Runtime> {
    let symbol = |name: &str| {
        let mut symbols = file.dynamic_symbols().chain(file.symbols());
        symbols.find(|symbol| !symbol.is_undefined() && symbol.address() != 0 && symbol.name() == Ok(name))
    };
    let found = symbol("_PyRuntime")?;
    let code = file
        .segments()
        .find(|segment| matches!(segment.flags(), SegmentFlags::Elf { p_flags, .. } if p_flags.0 & PF_X.0 != 0))?;
    let linked_at = code.address().wrapping_sub(code.file_range().0);
    let version = symbol("Py_Version").and_then(|symbol| {
        let bytes = contents(file, symbol.address(), 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    });
    Some(Runtime {
        address: found.address().wrapping_sub(linked_at),
        size: found.size(),
        version,
        head: contents(file, found.address(), found.size().min(HEAD_MAX)).unwrap_or_default(),
    })
}

/// What the file holds for an address.
fn contents<'a, R: ReadRef<'a>>(file: &object::File<'a, R>, address: u64, size: u64) -> Option<Vec<u8>> {
    file.sections().find_map(|section| section.data_range(address, size).ok()?.map(<[u8]>::to_vec))
}
