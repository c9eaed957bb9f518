//! The call during which a stack was taken.

pub const NONE: u8 = 0;
pub const CONNECT: u8 = 1;
pub const ACCEPT: u8 = 2;
pub const ACCEPT4: u8 = 3;
pub const READ: u8 = 4;
pub const SEND: u8 = 5;
pub const SHUTDOWN: u8 = 6;
pub const CLOSE: u8 = 7;
pub const LISTEN: u8 = 8;
/// dup2() or dup3(), which close what they replace.
pub const DUP: u8 = 9;
