//! What crosses the boundary between the kernel programs and the agent.
//!
//! Everything here is plain data: `#[repr(C)]`, explicit padding, sizes and
//! offsets asserted at compile time. No allocation, no `std`, no opinions.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod facts;
pub mod layout;
pub mod limits;
pub mod tls;
