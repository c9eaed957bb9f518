//! Opening files that others may have put there: regular ones only, and only in the root that is
//! meant. Everything here may hang: run it in a worker.

use std::fs::File;
use std::path::Path;

use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};

/// What a file must be to be opened.
#[derive(Clone, Copy, Debug)]
pub struct Requirements {
    /// Bytes.
    pub at_most: u64,
    /// None: whoever's.
    pub owner: Option<u32>,
    /// A link may stand at the end of the path.
    pub through_link: bool,
}

/// The file and its size in bytes, if it is as required; no link leads out of `root`.
pub fn open(root: impl AsFd, path: &Path, requirements: Requirements) -> Option<(File, u64)> {
    let follow = if requirements.through_link { OFlags::empty() } else { OFlags::NOFOLLOW };
    // O_PATH first: looking at a device or a FIFO must not open it.
    let flags = OFlags::PATH | OFlags::CLOEXEC | follow;
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let handle = rustix::fs::openat2(root, path, flags, Mode::empty(), within).ok()?;
    let stat = rustix::fs::fstat(&handle).ok()?;
    let size = u64::try_from(stat.st_size).ok()?;
    let is_as_required = size <= requirements.at_most && requirements.owner.is_none_or(|owner| owner == stat.st_uid);
    (is_regular(&stat) && is_as_required).then_some(())?;
    Some((readable(&handle)?, size))
}

pub fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// The file behind an O_PATH handle.
pub fn readable(handle: &OwnedFd) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    Some(rustix::fs::open(path, flags, Mode::empty()).ok()?.into())
}
