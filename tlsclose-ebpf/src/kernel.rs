//! The only reads of kernel memory.
//!
//! Offsets come from the running kernel's BTF as frozen globals, so the verifier knows them as
//! constants and lets a typed pointer be loaded through directly: no helper call, faults read as
//! zero, and nothing that lockdown=confidentiality forbids. What only an address is known of needs
//! `bpf_probe_read_kernel`: the file behind a descriptor, because the verifier does not type arrays
//! of pointers, the sockets in an accept queue, and those that no descriptor shows. Where that is
//! forbidden, they are left out. Kernels before 5.15 type less: for them all of this is compiled a
//! second time (`access`).

pub mod access;
pub mod arch;
mod clock;
mod fields;
mod globals;
mod task;
mod tcp;
mod untyped_sock;

pub(crate) use self::globals::global;
pub use self::{
    clock::{jiffies, now_ns},
    fields::{is_half_closed, read_user, reads_by_address, references, references_at, sock_of, state_of},
    task::{Task, current_thread, socket_of},
    tcp::{Hold, RCV_SHUTDOWN, SEND_SHUTDOWN, Sequences, Tcp, port_taken},
    untyped_sock::{Request, Stray},
};
