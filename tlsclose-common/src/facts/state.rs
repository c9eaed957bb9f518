//! TCP states as the kernel numbers them (include/net/tcp_states.h).

/// Both sides may send.
pub const ESTABLISHED: u8 = 1;
/// connect() waits for an answer.
pub const SYN_SENT: u8 = 2;
/// An answer was sent to a SYN.
pub const SYN_RECV: u8 = 3;
/// This side's FIN was sent.
pub const FIN_WAIT1: u8 = 4;
/// This side's FIN was acknowledged; the peer's is awaited.
pub const FIN_WAIT2: u8 = 5;
/// Both FINs passed; the address rests.
pub const TIME_WAIT: u8 = 6;
/// There is no connection.
pub const CLOSE: u8 = 7;
/// The peer's FIN came; this side's is awaited.
pub const CLOSE_WAIT: u8 = 8;
/// This side's FIN was sent after the peer's.
pub const LAST_ACK: u8 = 9;
/// It accepts connections.
pub const LISTEN: u8 = 10;
/// Both FINs crossed each other.
pub const CLOSING: u8 = 11;
