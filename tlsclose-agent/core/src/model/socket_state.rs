//! TCP states.

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// TCP states, spelled as node_exporter spells them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[repr(u8)]
pub enum State {
    Established = 1,
    SynSent = 2,
    SynRecv = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    Close = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
}

impl State {
    /// Every state, in the kernel's order (`include/net/tcp_states.h`).
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        Self::VARIANTS.iter().copied()
    }

    /// As node_exporter spells it; the JSON and every metric label.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// By its number in the kernel (`include/net/tcp_states.h`).
    pub fn numbered(number: u8) -> Option<Self> {
        Self::VARIANTS.get(usize::from(number).checked_sub(1)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_the_one_of_the_json() {
        for state in State::all() {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
    }

    #[test]
    fn states_are_in_the_kernels_order() {
        for (at, state) in State::all().enumerate() {
            assert_eq!(state as usize, at + 1);
            assert_eq!(State::numbered(state as u8), Some(state));
        }
    }
}
