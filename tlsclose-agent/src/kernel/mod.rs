//! All that knows aya and the kernel, and nearly all of the agent's unsafe code.

pub mod aborts;
mod allocation;
mod by_address;
pub mod census;
pub mod close_calls;
pub mod counters;
pub mod features;
mod inbox;
pub mod layout;
pub mod load;
mod load_error;
pub mod memory;
mod object;
pub mod pod;
mod processor;
mod reads;
mod self_check;
mod sends;
pub mod spins;
pub mod stacks;
mod system_calls;
pub mod tls;

use tlsclose_btf as btf;
