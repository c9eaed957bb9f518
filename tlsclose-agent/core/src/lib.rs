//! The pure core of tlsclose: what is known of sockets, and when they count as leaked.
//!
//! Time and facts come in as data; nothing here reads a clock, a file or the kernel, or starts a
//! thread. The same facts give the same verdicts, so all of it is tested in milliseconds.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod closes;
pub mod leaks;
pub mod model;
