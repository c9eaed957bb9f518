//! How connections came to their end.

/// How the connections of a site's sockets ended, where those are held in CLOSE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Death {
    /// By a reset, a timeout, or something else that only the socket's error says.
    #[default]
    Error,
    /// With a FIN from either side.
    Orderly,
    /// Some so and others so, or nobody saw how.
    Either,
}

impl Death {
    /// Of so many sockets, `both_ended` ended with a FIN from either side, and `failed` by an error.
    pub fn of(sockets: u64, both_ended: u64, failed: u64) -> Self {
        match sockets {
            _ if both_ended == sockets => Self::Orderly,
            _ if failed == sockets => Self::Error,
            _ => Self::Either,
        }
    }
}
