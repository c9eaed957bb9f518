//! How often something has happened lately. Pure.

use std::{collections::VecDeque, time::Duration};

use crate::model::Moment;

/// Over which time it is counted.
const SPAN: Duration = Duration::from_secs(300);
/// What happens within one such span is kept together.
const SLOT: Duration = Duration::from_secs(10);

/// Counts of the last five minutes.
#[derive(Clone, Debug, Default)]
pub struct Recent(VecDeque<(Moment, u64)>);

impl Recent {
    /// Counts what happened just now.
    pub fn add(&mut self, count: u64, now: Moment) {
        match self.0.back_mut() {
            Some((at, there)) if now.since(*at) < SLOT => *there += count,
            _ => self.0.push_back((now, count)),
        }
        while self.0.front().is_some_and(|(at, _)| now.since(*at) > SPAN + SLOT) {
            self.0.pop_front();
        }
    }

    /// Takes out the latest: what moves elsewhere has been counted just now.
    pub fn take(&mut self, count: u64) {
        let mut left = count;
        for (_, there) in self.0.iter_mut().rev() {
            let part = left.min(*there);
            *there -= part;
            left -= part;
        }
    }

    /// How many per minute, over no more than the time that they have been counted for.
    pub fn per_minute(&self, since: Option<Moment>, now: Moment) -> f64 {
        let counted_for = since.map_or(SPAN, |since| now.since(since));
        let span = counted_for.clamp(SLOT, SPAN);
        let counts = self.0.iter().filter(|(at, _)| now.since(*at) <= span + SLOT);
        counts.map(|(_, count)| count).sum::<u64>() as f64 * 60.0 / span.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(1 + seconds * 1_000_000_000)
    }

    #[test]
    fn a_rate_is_over_five_minutes_or_the_time_since_the_begin() {
        let mut recent = Recent::default();
        for seconds in 0..600 {
            recent.add(2, at(seconds));
        }
        for (since, now, expected) in
            [(Some(at(0)), at(600), 120.0), (None, at(600), 120.0), (Some(at(0)), at(1200), 0.0)]
        {
            let rate = recent.per_minute(since, now);
            assert!((rate - expected).abs() <= expected * 0.05, "{rate} is not {expected}");
        }
        let mut young = Recent::default();
        young.add(10, at(0));
        // Never over less than a slot: one event is no storm.
        for (now, expected) in [(at(1), 60.0), (at(10), 60.0), (at(60), 10.0)] {
            assert!((young.per_minute(Some(at(0)), now) - expected).abs() < 1e-9, "{now:?}");
        }
    }

    #[test]
    fn what_is_taken_goes_from_the_latest_back() {
        let mut recent = Recent::default();
        recent.add(5, at(0));
        recent.add(3, at(100));
        recent.take(4);
        assert_eq!(recent.0, [(at(0), 4), (at(100), 0)]);
        recent.take(10);
        assert_eq!(recent.0, [(at(0), 0), (at(100), 0)]);
    }
}
