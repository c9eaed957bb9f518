//! What can be lost, and why: the one list that metrics, their documentation and reports are made from.

use strum::{IntoStaticStr, VariantArray};

/// Why something was not recorded. In the order in which `tlsclose_lost_total` is exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, VariantArray)]
pub enum Loss {
    /// More processes and causes of aborted connections than are counted at once.
    #[strum(serialize = "aborts_full")]
    AbortsFull,
    /// close_range() closed more descriptors than are looked at.
    #[strum(serialize = "close_range")]
    CloseRange,
    /// More half-open connections than are kept of one census.
    #[strum(serialize = "half_open_full")]
    HalfOpenFull,
    /// The kernel skipped a program that was running on that CPU already.
    #[strum(serialize = "recursion")]
    Recursion,
    /// The stream's ring buffer was full.
    #[strum(serialize = "ring_full")]
    EventsRingFull,
    /// More threads or streams that could spin than are followed.
    #[strum(serialize = "spins_full")]
    SpinsFull,
    /// An entry of an earlier socket at the same address was dropped.
    #[strum(serialize = "stale")]
    Stale,
    /// More processes with TLS closes than are counted at once.
    #[strum(serialize = "tls_closes_full")]
    TlsClosesFull,
    /// One call moved more TLS records than are followed.
    #[strum(serialize = "tls_records")]
    TlsRecords,
    /// A TLS connection did not fit into `--max-sockets`.
    #[strum(serialize = "tls_sockets_full")]
    TlsSocketsFull,
    /// A half-closed socket did not fit into `--max-sockets`.
    #[strum(serialize = "map_full")]
    SocketsMapFull,
    /// `--max-stacks-per-second` was used up.
    #[strum(serialize = "budget")]
    StacksBudget,
    /// A stack was being taken on that CPU already.
    #[strum(serialize = "busy")]
    StacksBusy,
    /// `--max-stack-copies-per-second` was used up.
    #[strum(serialize = "copy_budget")]
    CopyBudget,
    /// A program's or library's file did not open in time.
    #[strum(serialize = "file_hung")]
    FileHung,
    /// It was not known yet how the library function at the top of the stack returns.
    #[strum(serialize = "leaf_unknown")]
    LeafUnknown,
    /// Where a socket was opened did not fit.
    #[strum(serialize = "map_full")]
    OriginsMapFull,
    /// No frame of a stack belongs to a file.
    #[strum(serialize = "no_file")]
    NoFile,
    /// More distinct code paths than are kept.
    #[strum(serialize = "paths_full")]
    PathsFull,
    /// The process ended before its mappings were read.
    #[strum(serialize = "process_gone")]
    ProcessGone,
    /// A process's budget or a library's rule did not fit.
    #[strum(serialize = "process_map_full")]
    ProcessMapFull,
    /// A Python stack refers to code that has been forgotten.
    #[strum(serialize = "python_code_missing")]
    PythonCodeMissing,
    /// A process had not been recognised as CPython yet.
    #[strum(serialize = "python_late")]
    PythonLate,
    /// A Python process has more threads than are looked through.
    #[strum(serialize = "python_threads")]
    PythonThreads,
    /// The names or the line table of a Python function were not in memory.
    #[strum(serialize = "python_unreadable")]
    PythonUnreadable,
    /// The ring buffer for stacks was full.
    #[strum(serialize = "ring_full")]
    StacksRingFull,
    /// The symbol helper crashed or hung on a file.
    #[strum(serialize = "symbols_failed")]
    SymbolsFailed,
}

/// The kinds of thing that can be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Lossy {
    /// Transitions, ends of processes and what is counted at the close of a connection.
    Events,
    /// Half-closed sockets: a report with such a loss is incomplete.
    Sockets,
    /// Code paths, and the names in them.
    Stacks,
}

impl Loss {
    /// Every reason.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        Self::VARIANTS.iter().copied()
    }

    /// What was lost.
    pub fn what(self) -> Lossy {
        match self {
            Self::AbortsFull
            | Self::CloseRange
            | Self::HalfOpenFull
            | Self::Recursion
            | Self::EventsRingFull
            | Self::SpinsFull
            | Self::Stale
            | Self::TlsClosesFull
            | Self::TlsRecords
            | Self::TlsSocketsFull => Lossy::Events,
            Self::SocketsMapFull => Lossy::Sockets,
            Self::StacksBudget
            | Self::StacksBusy
            | Self::CopyBudget
            | Self::FileHung
            | Self::LeafUnknown
            | Self::OriginsMapFull
            | Self::NoFile
            | Self::PathsFull
            | Self::ProcessGone
            | Self::ProcessMapFull
            | Self::PythonCodeMissing
            | Self::PythonLate
            | Self::PythonThreads
            | Self::PythonUnreadable
            | Self::StacksRingFull
            | Self::SymbolsFailed => Lossy::Stacks,
        }
    }

    /// Why, as the label of the metric says it: unique together with [`Loss::what`].
    pub fn reason(self) -> &'static str {
        self.into()
    }
}

impl Lossy {
    /// As the label of the metric says it.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_labels_and_no_two_are_alike() {
        let labels: Vec<_> = Loss::all().map(|loss| (loss.what().name(), loss.reason())).collect();
        assert!(labels.is_sorted_by(|one, next| one < next), "{labels:?}");
    }
}
