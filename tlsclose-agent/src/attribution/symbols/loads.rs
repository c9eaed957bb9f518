//! What is handed to a helper: contents of modules, and separate debug files.

use std::os::fd::OwnedFd;

use crate::attribution::modules::contents::ContentsId;

/// What a helper has loaded, or is to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Load {
    pub contents: ContentsId,
    /// Whether more than its symbol table is read.
    pub debug_info: bool,
}

impl Load {
    /// As the helper knows it.
    pub fn number(self) -> u32 {
        self.contents.0 << 1 | u32::from(self.debug_info)
    }
}

/// The contents of a file, to be handed over.
#[derive(Debug)]
pub struct Copy {
    pub data: OwnedFd,
    /// In bytes.
    pub size: u64,
}

/// Which debug file, and how much is read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DebugId {
    /// Never used again for others.
    pub number: u32,
    /// Whether more than its symbol table is read.
    pub debug_info: bool,
}

/// The separate debug file of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugFile {
    /// It was never looked for, or the helper failed meanwhile.
    Unknown,
    /// There is none.
    Absent,
    Found(DebugId),
}

impl DebugFile {
    pub fn found(self) -> Option<DebugId> {
        match self {
            Self::Found(debug) => Some(debug),
            Self::Unknown | Self::Absent => None,
        }
    }
}
