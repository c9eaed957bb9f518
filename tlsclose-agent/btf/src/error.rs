//! What can be wrong with type information.

use std::{io, path::PathBuf};

/// Why type information cannot be used, in one line.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file cannot be read.
    #[error("cannot read the kernel's type information {}: {error}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A directory, a FIFO, a device.
    #[error("{} is no regular file", .0.display())]
    NoFile(PathBuf),
    /// It has to be unpacked first.
    #[error("{} is no BTF yet, {advice}", path.display())]
    Packed {
        /// Which file.
        path: PathBuf,
        /// How to unpack it.
        advice: &'static str,
    },
    /// Something else.
    #[error("{} is no BTF", .0.display())]
    NoBtf(PathBuf),
    /// It contradicts itself.
    #[error("the kernel's type information is damaged: {0}")]
    Damaged(&'static str),
    /// A structure is missing.
    #[error("this kernel has no type `struct {0}`")]
    NoType(String),
    /// A field is missing, or does not begin at a byte.
    #[error("this kernel has no field `{path}` in `struct {structure}`")]
    NoField {
        /// Of which structure.
        structure: String,
        /// Members joined by dots.
        path: String,
    },
}
