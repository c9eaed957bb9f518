//! Code paths, and the calls that they ended in.

use serde::{Deserialize, Serialize};

use super::Frame;

/// A code path, named as far as it can be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CodePath {
    /// Innermost first, inlined functions expanded; none where the path is not known.
    pub frames: Vec<Frame>,
    /// They reach the start of the program or of a thread.
    pub whole: bool,
}

impl CodePath {
    /// The path of so many sockets; None where it is not known.
    pub fn of_sockets(self, sockets: u64) -> Option<CommonPath> {
        (!self.frames.is_empty()).then_some(CommonPath { sockets, whole: self.whole, stack: self.frames })
    }
}

/// A call on a socket, and the code path that made it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Touch {
    /// `accept4`, `accept`, `connect`, `listen`, `read`, `send`, `shutdown`.
    pub call: String,
    /// What the call returned: 0 for a read that found the end of the stream. None for every other call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<i64>,
    /// How long before the report it was; None when that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_ago: Option<f64>,
    /// The stack reaches the start of the program or of its thread. Else its outermost frames are missing.
    #[serde(default)]
    pub whole: bool,
    /// Innermost frame first.
    pub stack: Vec<Frame>,
}

impl Touch {
    /// The same call with the same result and stack, whenever it was.
    pub fn is_same_path(&self, other: &Touch) -> bool {
        (&self.call, self.result, self.whole, &self.stack) == (&other.call, other.result, other.whole, &other.stack)
    }
}

/// A code path that sockets have in common, and how many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommonPath {
    /// How many.
    pub sockets: u64,
    /// As in [`Touch`].
    #[serde(default)]
    pub whole: bool,
    /// Innermost frame first.
    pub stack: Vec<Frame>,
}
