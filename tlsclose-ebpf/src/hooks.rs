//! Every program but the census, by the moment that it runs at.
//!
//! Each is a thin wrapper that names the kernel prototype it relies on, and since when there is one.

mod destroy_sock;
mod io;
mod io_fexit;
#[cfg(feature = "probed")]
mod io_kprobe;
mod process;
mod set_state;
mod syscall_fentry;
