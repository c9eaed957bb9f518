//! What unwinding a copied stack came to.

use tlsclose_symbols::rule::Caller;

use crate::attribution::modules::CodePlace;
use crate::attribution::symbols::Answered;

/// What a copied stack holds.
pub struct Unwound {
    /// Innermost first, up to the first address that belongs to no file.
    pub path: Vec<CodePlace>,
    /// How to get from each frame to its caller.
    pub callers: Vec<Answered<Caller>>,
    /// It ends at the start of the program or of a thread.
    pub is_whole: bool,
    /// It ended because the copy did.
    pub left_copy: bool,
    /// How far above the stack pointer words were used, in bytes.
    pub reach: u64,
}
