//! Connections that have ended: how many, in which way, and by which code path.

pub mod aborts;
pub mod rate;
pub mod sampled_counters;
pub mod tls;
pub mod tls_outcome;
pub mod usual_close;
