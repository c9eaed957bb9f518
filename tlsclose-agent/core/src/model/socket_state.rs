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
    /// Data can move in both directions.
    Established = 1,
    /// A SYN was sent, and nothing has come back.
    SynSent = 2,
    /// A SYN was answered, and the last ACK of the handshake is missing.
    SynRecv = 3,
    /// We sent a FIN that is not acknowledged.
    FinWait1 = 4,
    /// Our FIN is acknowledged; the peer has not sent its own.
    FinWait2 = 5,
    /// Both FINs are acknowledged; late segments are waited for.
    TimeWait = 6,
    /// No connection: not yet, or no more.
    Close = 7,
    /// The peer has sent its FIN; we have not.
    CloseWait = 8,
    /// The peer sent its FIN first, and ours is not acknowledged.
    LastAck = 9,
    /// Takes connections.
    Listen = 10,
    /// Both FINs crossed, and ours is not acknowledged.
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
