//! Who holds a socket, and which line of code put it there.
//!
//! Attribution never changes a verdict: whatever fails here costs a name, not a finding.
//! Everything read here belongs to somebody else and may be hostile: processes die or change at
//! any read, files lie about their format, names contain what they like.
#![forbid(unsafe_code)]

pub mod aborts;
pub mod blocked;
mod closing_sites;
pub mod containers;
pub mod demand;
pub mod describe;
pub mod goodbyes;
mod identities;
pub mod images;
pub mod intake;
pub mod java;
pub mod jit;
pub mod last_user;
pub mod modules;
pub mod paths;
pub mod process;
pub mod python;
mod regular;
pub mod stacks;
pub mod symbols;
pub mod worker;

pub use describe::Attribution;
