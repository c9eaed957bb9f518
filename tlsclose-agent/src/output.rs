//! What the agent says, and to whom. Everything here is made from a snapshot and calls nobody upstream.

pub mod agent_client;
pub mod doctor;
pub mod filter;
pub mod http;
pub mod metrics;
pub mod otlp;
pub mod page;
#[cfg(test)]
pub mod sample;
pub mod states;
pub mod table;
pub mod top;
