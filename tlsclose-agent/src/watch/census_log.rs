//! What the censuses so far were like, and how often the next ones may be.

use std::time::Duration;

use crate::{api::Histogram, kernel::census::Totals};

/// Censuses that tell what one costs.
const COSTS: usize = 5;
/// Upper bounds, in seconds, of the buckets of a census's duration.
const CENSUS_BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

/// The censuses so far.
pub struct CensusLog {
    pub since: jiff::Timestamp,
    /// The interval in force.
    pub interval: Duration,
    pub last: Totals,
    pub durations: Histogram,
    pub censuses: u64,
    /// CPU time of the last few censuses, the newest last.
    costs: Vec<Duration>,
}

impl CensusLog {
    pub fn new(interval: Duration) -> Self {
        let bounds = CENSUS_BUCKETS.iter().copied().chain([f64::INFINITY]);
        Self {
            since: jiff::Timestamp::now(),
            interval,
            last: Totals::default(),
            durations: Histogram { buckets: bounds.map(|bound| (bound, 0)).collect(), sum: 0.0 },
            censuses: 0,
            costs: Vec::new(),
        }
    }

    /// Takes in what a census cost that is shown nowhere.
    pub fn cost(&mut self, cpu: Duration) {
        if self.costs.len() == COSTS {
            self.costs.remove(0);
        }
        self.costs.push(cpu);
    }

    /// Takes in a census; the interval is at least `shortest`, and stretches so that what a census
    /// usually costs stays one part in `share` of a core.
    pub fn record(&mut self, totals: &Totals, shortest: Duration, share: u32) {
        self.cost(totals.cpu);
        self.interval = shortest.max(median(&self.costs) * share);
        let seconds = totals.took.as_secs_f64();
        self.durations.sum += seconds;
        for (bound, count) in &mut self.durations.buckets {
            *count += u64::from(seconds <= *bound);
        }
        self.last = *totals;
        self.censuses += 1;
    }
}

/// The middle one, of two the smaller; zero of none.
fn median(costs: &[Duration]) -> Duration {
    let mut sorted = costs.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_stretches_with_the_usual_cost_and_not_with_one_slow_census() {
        let milliseconds = Duration::from_millis;
        let mut log = CensusLog::new(milliseconds(5000));
        let mut after = |cpu| {
            log.record(&Totals { cpu: milliseconds(cpu), ..Totals::default() }, milliseconds(5000), 100);
            log.interval
        };
        assert_eq!(after(3), milliseconds(5000));
        assert_eq!(after(900), milliseconds(5000), "one that was slow");
        assert_eq!([after(90), after(90), after(90)].map(|interval| interval.as_secs()), [9, 9, 9]);
        assert_eq!([after(1), after(1), after(1)].map(|interval| interval.as_secs()), [9, 9, 5]);
    }
}
