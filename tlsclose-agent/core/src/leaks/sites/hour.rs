//! How many sockets lingered at a site in each minute of the last hour: the line that the page draws.

use std::{collections::VecDeque, time::Duration};

use crate::model::Moment;

/// What one count stands for.
pub const STEP: Duration = Duration::from_secs(60);
/// Counts kept: an hour. At 4 bytes each, a site costs 240 bytes.
const STEPS: usize = 60;

/// One count a minute since the site was first seen, the oldest first; the last is of now.
#[derive(Clone, Debug, Default)]
pub struct Hour {
    counts: VecDeque<u32>,
    /// When the last minute began.
    began: Moment,
}

impl Hour {
    /// Takes in the count of a census. A minute without a census has the count of the one before.
    pub fn update(&mut self, now: Moment, lingering: u64) {
        let Some(last) = self.counts.back().copied() else {
            self.began = now;
            self.counts.push_back(saturated(lingering));
            return;
        };
        let passed = now.since(self.began).as_secs() / STEP.as_secs();
        for _ in 0..passed.min(STEPS as u64) {
            if self.counts.len() == STEPS {
                self.counts.pop_front();
            }
            self.counts.push_back(last);
        }
        self.began = Moment(self.began.0 + passed * STEP.as_nanos() as u64);
        if let Some(current) = self.counts.back_mut() {
            *current = saturated(lingering);
        }
    }

    /// Lingering sockets of each minute, the oldest first; 60 at most.
    pub fn counts(&self) -> impl Iterator<Item = u32> {
        self.counts.iter().copied()
    }
}

fn saturated(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
