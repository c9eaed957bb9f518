//! Where sockets come from, as far as that was seen.

use tlsclose_common::facts::{Origin, call};

use crate::{
    kernel::Tcp,
    maps::{ORIGIN, Values},
};

/// Where the socket comes from, if that was seen. What is kept may be about an earlier socket at this address.
#[inline(always)]
pub fn origin(sk: Tcp) -> Option<&'static Origin> {
    let origin = ORIGIN.value(sk.address())?;
    sk.had_peer(origin.peer).then_some(origin)
}

/// Of a socket that nothing is known of.
pub const NO_ORIGIN: Origin = Origin {
    opened_at: 0,
    opened: 0,
    touched: 0,
    touched_at: 0,
    tgid: 0,
    peer: 0,
    opened_call: call::NONE,
    touched_call: call::NONE,
    pad: [0; 2],
    touched_result: 0,
};
