//! What code paths are called.

pub mod closing_sites;
