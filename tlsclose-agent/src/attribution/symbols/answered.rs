//! What was answered, or may be soon.

/// Why nothing is known now about something in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// The file is still being copied: it can be said soon.
    Pending,
    /// The helper failed, or is not started again yet.
    NoAnswer,
}

pub type Answered<T> = Result<T, NotNow>;

/// What is known now, and whether more of it will be known soon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SoFar<T> {
    pub known: T,
    /// A file that it needs is still being copied.
    pub is_pending: bool,
}

impl<T> SoFar<T> {
    /// There is no more to come.
    pub fn all(known: T) -> Self {
        Self { known, is_pending: false }
    }

    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> SoFar<U> {
        SoFar { known: change(self.known), is_pending: self.is_pending }
    }
}
