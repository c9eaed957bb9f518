//! The call during which a stack was taken.

/// No call is known.
pub const NONE: u8 = 0;
/// connect(), and sends that connect.
pub const CONNECT: u8 = 1;
/// accept().
pub const ACCEPT: u8 = 2;
/// accept4().
pub const ACCEPT4: u8 = 3;
/// Any call that reads from the socket.
pub const READ: u8 = 4;
/// Any call that sends on the socket.
pub const SEND: u8 = 5;
/// shutdown().
pub const SHUTDOWN: u8 = 6;
/// close(), and close_range().
pub const CLOSE: u8 = 7;
/// listen().
pub const LISTEN: u8 = 8;
/// dup2() or dup3(), which close what they replace.
pub const DUP: u8 = 9;
