//! Stacks with JIT code that had no name yet when they came.

use std::time::Instant;

use super::Place;
use crate::attribution::process::ProcessId;

/// Stacks that wait at once.
const MAX: usize = 256;

/// A stack, as places in modules.
pub struct Stack {
    /// The kernel side's.
    pub key: u64,
    pub is_copy: bool,
    pub process: ProcessId,
    pub path: Vec<Place>,
}

/// Each waits until the map of its process was looked at once more.
#[derive(Default)]
pub struct Waiting(Vec<(Stack, Instant)>);

impl Waiting {
    pub fn is_full(&self) -> bool {
        self.0.len() >= MAX
    }

    pub fn add(&mut self, stack: Stack, since: Instant) {
        self.0.push((stack, since));
    }

    pub fn take(&mut self) -> Vec<(Stack, Instant)> {
        std::mem::take(&mut self.0)
    }
}
