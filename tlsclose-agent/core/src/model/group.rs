//! Sockets that are treated alike.

use super::{Kind, ProcessId};

/// A code path that the agent has interned; 0 where none was sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u32);

impl PathId {
    /// No path is known.
    pub const NONE: Self = Self(0);
}

/// Sockets that are treated alike: same process, same kind, same code paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// Who holds them.
    pub process: ProcessId,
    /// What is wrong with them.
    pub kind: Kind,
    /// Where they were opened.
    pub opened: PathId,
    /// By which call (`tlsclose_common::facts::call`).
    pub opened_call: u8,
    /// Where they were last touched.
    pub touched: PathId,
    /// By which call (`tlsclose_common::facts::call`).
    pub touched_call: u8,
    /// That call returned 0: the end of the stream.
    pub read_the_end: bool,
}

impl Group {
    /// Nothing is missing of the code paths that tell its site from others.
    pub fn is_complete(&self) -> bool {
        self.opened != PathId::NONE && (self.touched != PathId::NONE || !self.kind.touch_tells())
    }
}
