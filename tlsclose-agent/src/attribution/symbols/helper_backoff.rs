//! Which modules cost helpers, and how often helpers may be started.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::attribution::modules::ModuleId;

/// Helpers that a module may cost.
pub const STRIKES_MAX: u8 = 2;

/// Modules whose strikes are remembered.
const STRUCK_MAX: usize = 4096;

/// Helpers started within [`STARTS_WINDOW`], at most.
pub const STARTS_MAX: usize = 3;
const STARTS_WINDOW: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub struct Strikes {
    of: HashMap<ModuleId, u8>,
}

impl Strikes {
    pub fn of(&self, module: ModuleId) -> u8 {
        self.of.get(&module).copied().unwrap_or(0)
    }

    pub fn is_out(&self, module: ModuleId) -> bool {
        self.of(module) >= STRIKES_MAX
    }

    pub fn add(&mut self, module: ModuleId) {
        if self.of.len() >= STRUCK_MAX {
            self.of.clear();
        }
        let strikes = self.of.entry(module).or_default();
        *strikes = strikes.saturating_add(1);
    }
}

#[derive(Debug, Default)]
pub struct Starts {
    at: VecDeque<Instant>,
}

impl Starts {
    /// Whether a helper may be started now.
    pub fn would_allow(&mut self, now: Instant) -> bool {
        self.at.retain(|start| now.saturating_duration_since(*start) < STARTS_WINDOW);
        self.at.len() < STARTS_MAX
    }

    /// The same; if so, it counts as started.
    pub fn allow(&mut self, now: Instant) -> bool {
        let allowed = self.would_allow(now);
        if allowed {
            self.at.push_back(now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_come_back_with_time() {
        let mut starts = Starts::default();
        let now = Instant::now();
        let allowed = (0..10).filter(|_| starts.allow(now)).count();
        assert_eq!(allowed, STARTS_MAX);
        assert!(!starts.would_allow(now) && starts.would_allow(now + STARTS_WINDOW));
        assert!(starts.allow(now + STARTS_WINDOW));
    }

    #[test]
    fn a_module_is_out_after_two_strikes() {
        let mut strikes = Strikes::default();
        let (bad, good) = (ModuleId(1), ModuleId(2));
        strikes.add(bad);
        assert!(!strikes.is_out(bad));
        strikes.add(bad);
        assert!(strikes.is_out(bad) && !strikes.is_out(good));
    }
}
