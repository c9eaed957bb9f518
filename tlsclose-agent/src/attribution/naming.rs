//! The names of what code paths did: calls, and the sites of closes.

pub mod closing_sites;
pub mod touch;
