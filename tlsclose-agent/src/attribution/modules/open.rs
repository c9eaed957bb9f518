//! Opening the files that a process executes. Everything here may hang: run it in a worker.

use std::fs::File;
use std::io::Read;

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, Stat};

use super::maps::{Backing, Mapping, executable};
use crate::attribution::untrusted_file;

/// Files larger than this are not opened, in bytes.
pub const FILE_MAX: u64 = 512 << 20;

/// More of `/proc/PID/maps` than this is not read, in bytes.
const MAPS_MAX: u64 = 8 << 20;

/// Executable mappings of one process that are looked at.
const MAPPINGS_MAX: usize = 4096;

/// An executable mapping, and which file is behind it as far as that could be reached.
#[derive(Debug)]
pub struct FoundMapping {
    pub mapping: Mapping,
    pub version: Option<FileVersion>,
}

/// Tells one content of a file from another, also where an inode number is used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileVersion {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    /// Last modification, nanoseconds since 1970.
    pub modified: i128,
}

/// The executable mappings of the process behind the directory `process` (`/proc/PID`).
pub fn mappings(process: &OwnedFd) -> Option<Vec<FoundMapping>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let maps = rustix::fs::openat(process, "maps", flags, Mode::empty()).ok()?;
    let mut text = Vec::new();
    let mut maps = File::from(maps).take(MAPS_MAX);
    maps.read_to_end(&mut text).ok()?;
    let find =
        |mapping: Mapping| FoundMapping { version: target(process, &mapping).map(|(_, version)| version), mapping };
    let mappings = executable(&text).into_iter().take(MAPPINGS_MAX);
    Some(mappings.map(find).collect())
}

/// The file behind a mapping, readable, if it still is that file. None where it is too large or
/// may not be read.
pub fn open(process: &OwnedFd, mapping: &Mapping, expected: FileVersion) -> Option<File> {
    let (handle, version) = target(process, mapping)?;
    if version != expected || version.size > FILE_MAX {
        return None;
    }
    untrusted_file::readable(&handle)
}

/// The file through `map_files`, which leads to the right file even when it was deleted or lies
/// in another mount namespace, but asks for CAP_CHECKPOINT_RESTORE. Else through `exe`, or by its
/// path under the root of the process, if what is there is the file that is mapped.
fn target(process: &OwnedFd, mapping: &Mapping) -> Option<(OwnedFd, FileVersion)> {
    let Backing::File(path) = &mapping.backing else {
        return None;
    };
    let by_range = format!("map_files/{:x}-{:x}", mapping.start, mapping.end);
    if let Some(target) = handle(process, by_range.as_bytes()) {
        return Some(target);
    }
    let (major, minor) = mapping.device;
    let mapped = (rustix::fs::makedev(major, minor), mapping.inode);
    let by_path = [b"root", path.as_slice()].concat();
    [b"exe", by_path.as_slice()]
        .into_iter()
        .filter_map(|path| handle(process, path))
        .find(|(_, found)| (found.device, found.inode) == mapped)
}

/// O_PATH: looking at a device or a FIFO must not open it.
fn handle(process: &OwnedFd, path: &[u8]) -> Option<(OwnedFd, FileVersion)> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(process, path, flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&handle).ok()?;
    if !untrusted_file::is_regular(&stat) {
        return None;
    }
    let version = version(&stat)?;
    Some((handle, version))
}

fn version(stat: &Stat) -> Option<FileVersion> {
    Some(FileVersion {
        device: stat.st_dev,
        inode: stat.st_ino,
        size: u64::try_from(stat.st_size).ok()?,
        modified: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
    })
}
