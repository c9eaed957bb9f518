//! What is kept of sockets, from their opening to their last close.

pub mod aborts;
pub mod close_calls;
pub mod close_evidence;
pub mod half_closed;
pub mod last_close;
pub mod listeners;
pub mod openings;
pub mod origin;
pub mod spins;
pub mod stream;
