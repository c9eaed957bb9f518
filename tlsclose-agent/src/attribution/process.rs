//! Who processes are, what they hold, and what their threads do: procfs.

pub mod blocked;
pub mod epoll_targets;
pub mod identities;
pub mod last_user;
pub mod procfs;
pub mod thread_cpu;

pub use procfs::{Identity, Procfs, Vitals, comm_text};
