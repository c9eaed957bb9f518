//! Copies of files that cannot change under their reader.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use ring::digest::{Context, SHA256};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

use crate::attribution::modules::contents::Digest;

/// Read at a time, in bytes.
const CHUNK: usize = 1 << 20;

/// A copy of the first `size` bytes of `file` in memory, sealed: whoever maps it needs no right to
/// the file, and cannot be hurt by its truncation. May hang with the file system; None on error.
pub fn sealed_copy(file: &File, size: u64) -> Option<OwnedFd> {
    copy(file, size, |_| {})
}

/// The same, and what it holds.
pub fn sealed_copy_and_digest(file: &File, size: u64) -> Option<(OwnedFd, Digest)> {
    let mut digest = Context::new(&SHA256);
    let copy = copy(file, size, |chunk| digest.update(chunk))?;
    let digest = digest.finish().as_ref().try_into().ok()?;
    Some((copy, Digest(digest)))
}

fn copy(file: &File, size: u64, mut meanwhile: impl FnMut(&[u8])) -> Option<OwnedFd> {
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
        meanwhile(&chunk[..read]);
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

    #[test]
    fn the_digest_is_that_of_all_bytes_and_of_no_others() {
        let mut original = tempfile::tempfile().unwrap();
        let size = 2 * CHUNK as u64 + 1;
        original.write_all(&vec![7; size as usize]).unwrap();
        let digest = |size| sealed_copy_and_digest(&original, size).unwrap().1;
        let whole = digest(size);
        assert_eq!(digest(size), whole);
        assert_ne!(digest(size - 1), whole);
        original.write_at(b"8", size - 1).unwrap();
        assert_ne!(digest(size), whole);
    }
}
