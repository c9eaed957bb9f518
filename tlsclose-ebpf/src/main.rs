//! The kernel side of tlsclose: one file per moment of a socket's life.
//!
//! The programs keep facts, never opinions. Each hook is a thin wrapper that
//! names the kernel prototype it relies on, and a function that reads top to
//! bottom. Kernel memory is read in `kernel.rs` only.
#![feature(asm_experimental_arch)]
#![no_std]
#![no_main]

mod aborts;
mod accept_queue;
mod arch;
mod budget;
mod census;
mod close_calls;
mod close_evidence;
mod closing;
mod direct;
mod following;
mod gone;
mod goodbye;
mod half_closed;
mod half_open;
mod io;
mod io_exit;
#[cfg(feature = "probed")]
mod io_probe;
mod kernel;
mod maps;
mod open;
mod process;
mod python;
mod records;
mod spins;
mod stack;
mod stream;
mod tables;
mod tls;
mod transition;
mod unheld;

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// `bpf_probe_read_user` and others may only be called by programs under a GPL-compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
