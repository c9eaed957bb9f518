//! All that knows aya and the kernel, and nearly all of the agent's unsafe code.

pub mod aborts;
mod arch;
pub mod btf;
pub mod census;
pub mod closes;
pub mod counters;
pub mod features;
pub mod layout;
pub mod load;
mod load_error;
mod lockdown;
pub mod malloc_trim;
mod map_prealloc;
mod object;
pub mod pod;
mod reads;
mod ring_drain;
mod self_check;
mod sends;
pub mod spins;
pub mod stacks;
mod system_calls;
pub mod tls;
