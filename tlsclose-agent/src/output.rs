//! What the agent says, and to whom. Everything here is made from a snapshot and calls nobody upstream.

pub mod filter;
pub mod http;
#[cfg(test)]
pub mod sample;
