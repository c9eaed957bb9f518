//! How a report is laid out.

use super::colour::Colour;
use crate::output::filter::Sort;

/// How a report is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Modules, offsets and build ids; all processes and examples.
    pub wide: bool,
    pub colour: Colour,
    pub sort: Sort,
    /// Sites shown at most.
    pub top: Option<usize>,
}
