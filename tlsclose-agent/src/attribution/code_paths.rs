//! From stacks as the kernel side sends them to code paths, each known once.

pub mod address_spaces;
mod interned;
mod keys;
mod needs;
pub mod paths;
pub mod pending_stacks;
pub mod stacks;
