//! What a census changes.

use super::{End, Group, Moment};

/// What one census has changed of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It lingers from now on.
    Began {
        /// What it is counted for.
        group: Group,
        /// It was half-closed before the agent started.
        adopted: bool,
    },
    /// It no longer lingers.
    Ended {
        /// What it was counted for.
        group: Group,
        /// It was half-closed before the agent started.
        adopted: bool,
        /// How it ended.
        how: End,
        /// When it began to linger.
        began: Moment,
    },
}
