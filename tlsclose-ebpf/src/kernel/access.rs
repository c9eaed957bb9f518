//! How a field of a structure is read: by a pointer that the verifier knows the type of, or, for kernels that type too
//! little (before 5.15), by a helper.

#[cfg(feature = "probed")]
mod probed;
#[cfg(not(feature = "probed"))]
mod typed;

#[cfg(feature = "probed")]
pub use self::probed::*;
#[cfg(not(feature = "probed"))]
pub use self::typed::*;
