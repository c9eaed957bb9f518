//! How the directions of TLS connections ended.

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// How one direction of a TLS connection ended.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum TlsOutcome {
    /// A `close_notify`, then the end.
    Clean,
    /// A FIN without a `close_notify`, while the other side had not said goodbye either.
    Truncated,
    /// A FIN without a `close_notify`, after the other side had said goodbye.
    Unanswered,
    /// An RST, or a time-out.
    Aborted,
    /// What was seen does not tell.
    Unknown,
}

impl TlsOutcome {
    /// Every outcome.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        Self::VARIANTS.iter().copied()
    }

    /// As in JSON and in metric labels.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Closes by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsOutcomes {
    /// As in [`TlsOutcome::Clean`].
    pub clean: u64,
    /// As in [`TlsOutcome::Truncated`].
    pub truncated: u64,
    /// As in [`TlsOutcome::Unanswered`].
    pub unanswered: u64,
    /// As in [`TlsOutcome::Aborted`].
    pub aborted: u64,
    /// As in [`TlsOutcome::Unknown`].
    pub unknown: u64,
}

impl TlsOutcomes {
    /// The count of one outcome, to be changed.
    pub fn of_mut(&mut self, outcome: TlsOutcome) -> &mut u64 {
        match outcome {
            TlsOutcome::Clean => &mut self.clean,
            TlsOutcome::Truncated => &mut self.truncated,
            TlsOutcome::Unanswered => &mut self.unanswered,
            TlsOutcome::Aborted => &mut self.aborted,
            TlsOutcome::Unknown => &mut self.unknown,
        }
    }

    /// Each outcome with its closes.
    pub fn all(self) -> impl Iterator<Item = (TlsOutcome, u64)> {
        TlsOutcome::all().map(move |outcome| (outcome, *{ self }.of_mut(outcome)))
    }

    /// Closes with any outcome.
    pub fn total(&self) -> u64 {
        self.clean + self.truncated + self.unanswered + self.aborted + self.unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_the_one_of_the_json() {
        for outcome in TlsOutcome::all() {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.name());
        }
    }
}
