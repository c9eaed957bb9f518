//! Copies of files that cannot change under their reader.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

/// Read at a time, in bytes.
const CHUNK: usize = 1 << 20;

/// A copy of the first `size` bytes of `file` in memory, sealed: whoever maps it needs no right to
/// the file, and cannot be hurt by its truncation. May hang with the file system; None on error.
pub fn sealed_copy(file: &File, size: u64) -> Option<OwnedFd> {
    let mut copy = File::from(memory()?);
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    while at < size {
        let room = CHUNK.min(usize::try_from(size - at).unwrap_or(CHUNK));
        let read = file.read_at(&mut chunk[..room], at).ok()?;
        if read == 0 {
            break;
        }
        copy.write_all(&chunk[..read]).ok()?;
        at += read as u64;
    }
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fcntl_add_seals(&copy, seals).ok()?;
    Some(copy.into())
}

/// NOEXEC_SEAL exists since Linux 6.3, and may be mandatory there (vm.memfd_noexec).
fn memory() -> Option<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let name = c"tlsclose-module";
    match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => memfd_create(name, flags).ok(),
        other => other.ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_whole_and_cannot_be_changed() {
        let mut original = tempfile::tempfile().unwrap();
        let contents: Vec<u8> = (0..3 * CHUNK / 2).map(|i| i as u8).collect();
        original.write_all(&contents).unwrap();
        let size = contents.len() as u64;
        // Longer than it claims to be, and shorter.
        for (claimed, copied) in [(size, size), (10, 10), (2 * size, size)] {
            let copy = File::from(sealed_copy(&original, claimed).unwrap());
            assert_eq!(copy.metadata().unwrap().len(), copied);
            let mut byte = [0];
            copy.read_exact_at(&mut byte, copied - 1).unwrap();
            assert_eq!(byte[0], contents[copied as usize - 1]);
            assert!(copy.write_at(b"x", 0).is_err());
            assert!(copy.set_len(1).is_err());
        }
    }
}
