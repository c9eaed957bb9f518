//! Programs whose own code is not all in files: interpreters and compilers at run time.

pub mod java;
pub mod jit;
pub mod python;
