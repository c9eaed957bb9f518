//! The file that the types come from. It may be one that somebody has named: anything.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use rustix::fs::{Mode, OFlags};

use crate::{error::BtfError, types::MAGIC};

/// More is not read, in bytes; distributions' kernels have 3 to 8 MiB.
const MOST: u64 = 256 << 20;

/// What packed files begin with, and how to unpack them. BTFHub's are `.tar.xz`.
const PACKED: [(&[u8], &str); 4] = [
    (b"\xfd7zXZ\0", "unpack it (tar --xz -xf)"),
    (b"\x1f\x8b", "unpack it (gunzip, or tar -xzf)"),
    (b"\x28\xb5\x2f\xfd", "unpack it (unzstd)"),
    (b"\x7fELF", "it is an ELF file: take its section out (objcopy -O binary --only-section=.BTF)"),
];

/// The bytes of a file, which are not looked at further.
///
/// # Errors
/// When it cannot be read, or holds something else; the error says what to do.
pub fn read(path: &Path) -> Result<Vec<u8>, BtfError> {
    let failed = |error: io::Error| BtfError::Read { path: path.to_owned(), error };
    // A FIFO would have us wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    let file = File::from(file);
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(BtfError::NoFile(path.to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).map_err(failed)?;
    match PACKED.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        Some((_, advice)) => Err(BtfError::Packed { path: path.to_owned(), advice }),
        None if bytes.starts_with(&MAGIC.to_ne_bytes()) => Ok(bytes),
        None => Err(BtfError::NoBtf(path.to_owned())),
    }
}
