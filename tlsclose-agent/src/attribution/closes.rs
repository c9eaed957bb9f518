//! How connections ended: from the kernel side's counters into the accounts.

pub mod abort_intake;
pub mod tls_closes;
