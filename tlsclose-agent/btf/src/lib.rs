//! A reader of BTF, the kernel's own description of its types (Documentation/bpf/btf.rst), as far as it is needed here:
//! the agent looks up offsets of fields, tests move fields and take names away, and what is recorded of other kernels is
//! a few types out of all.
//!
//! aya keeps its BTF members private. Types come from files that anybody may have named: nothing here panics on them.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod error;
pub mod file;
mod questions;
pub mod type_kind;
mod types;

pub use self::{
    error::BtfError,
    types::{Btf, MAGIC, Member, Type},
};
