//! Sockets that are held and forgotten: from the records of a census to the verdict on a site.

pub mod accept_queues;
pub mod fd_exhaustion;
pub mod half_open;
pub mod sites;
pub mod spins;
pub mod tracker;
pub mod verdict;
