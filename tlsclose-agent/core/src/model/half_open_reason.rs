//! Why a peer is thought to be gone.

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// Why a peer is thought to be gone.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum HalfOpenReason {
    /// The same data was retransmitted at least three times.
    Unacknowledged,
    /// At least one probe, of keepalive or of a closed window, got no answer.
    ProbesUnanswered,
    /// Nothing moved for `--idle-after`, and without keepalive nobody would find out.
    Idle,
}

impl HalfOpenReason {
    /// Every reason.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        Self::VARIANTS.iter().copied()
    }

    /// As in JSON and in metric labels.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_the_one_of_the_json() {
        for reason in HalfOpenReason::all() {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
    }
}
