//! Facts that the kernel side keeps or sends.
//!
//! Times are `bpf_ktime_get_ns()`: nanoseconds of `CLOCK_MONOTONIC`.
//! Sequence numbers are TCP's (RFC 9293, section 3.4), modulo 2^32.

mod aborts;
pub mod call;
mod census;
mod close_calls;
mod comm;
mod control;
mod durations;
mod half_closed;
mod holders;
mod origin;
mod process_end;
mod python;
mod queue;
mod silence;
mod spins;
mod stack;
pub mod state;
mod tables;
mod tls;
mod transition;

pub use self::{
    aborts::*, census::*, close_calls::*, comm::*, control::*, durations::*, half_closed::*, holders::*, origin::*,
    process_end::*, python::*, queue::*, silence::*, spins::*, stack::*, tables::*, tls::*, transition::*,
};
