//! What came of a call of close().

use strum::IntoStaticStr;

/// What came of a call of close().
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum CloseResult {
    /// It closed the socket.
    Closed,
    /// Something else holds the file still.
    StillHeld,
    /// The descriptor was not open (EBADF).
    BadFd,
}

impl CloseResult {
    /// As in metric labels.
    pub fn name(self) -> &'static str {
        self.into()
    }
}
