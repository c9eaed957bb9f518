//! Stacks of the programs that call, and how many of them may be taken.

pub mod budget;
pub mod python;
pub mod stack;
mod words;
