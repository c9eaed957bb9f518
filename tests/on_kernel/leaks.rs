//! Sockets that linger are found, with their process and their line of code, and nothing else is.

mod accept_queue;
mod descriptors;
mod ended_sockets;
mod exactness;
mod failed;
mod false_alarms;
mod findings;
mod half_open;
mod holders;
mod ledger;
mod lifecycle;
mod payments;
mod programs;
mod same_site;
mod shared;
mod spins;
mod uring;
