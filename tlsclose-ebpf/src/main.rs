//! The kernel side of tlsclose.
//!
//! `hooks` are the programs: what runs in the kernel, and when. They keep facts, never opinions: of
//! `sockets`, of what `tls` says on them, and of the `stacks` that touched them; the `census` tells
//! who holds which. Kernel memory is read in `kernel` only.
#![feature(asm_experimental_arch)]
#![no_std]
#![no_main]

mod census;
mod hooks;
mod kernel;
mod maps;
mod sockets;
mod stacks;
mod tls;

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// `bpf_probe_read_user` and others may only be called by programs under a GPL-compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
