//! What a JIT compiler calls its code.

use std::sync::Arc;

/// A function that a JIT compiler made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JitName {
    pub function: Arc<str>,
    pub file: Option<Arc<str>>,
}
