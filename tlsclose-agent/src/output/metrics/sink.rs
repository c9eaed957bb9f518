//! Where families go: the text of `/metrics` and OTLP's messages are made by one walk over them.

use std::fmt;

use crate::api::Histogram;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Counter,
    Gauge,
    Histogram,
}

/// What is said of a family before its samples.
#[derive(Clone, Copy, Debug)]
pub struct FamilyHead {
    /// Without the `_total` of a counter.
    pub name: &'static str,
    pub kind: Type,
    /// One sentence without quotes or backslashes.
    pub help: &'static str,
}

/// What a sample says.
#[derive(Clone, Copy, Debug)]
pub enum Reading<'a> {
    Whole(u64),
    Real(f64),
    Histogram(&'a Histogram),
}

impl From<u64> for Reading<'_> {
    fn from(whole: u64) -> Self {
        Self::Whole(whole)
    }
}

impl From<f64> for Reading<'_> {
    fn from(real: f64) -> Self {
        Self::Real(real)
    }
}

impl<'a> From<&'a Histogram> for Reading<'a> {
    fn from(histogram: &'a Histogram) -> Self {
        Self::Histogram(histogram)
    }
}

/// The labels of one sample: name and value, in the order in which the family declares them.
pub type LabelPairs<'a> = [(&'static str, &'a str)];

/// Takes families, one after the other.
pub trait Sink {
    /// Begins a family. Its samples go to what is returned.
    fn family<'a>(&'a mut self, head: &FamilyHead) -> Result<Box<dyn Samples + 'a>, fmt::Error>;
}

/// Takes the samples of one family.
pub trait Samples {
    /// Takes one. A reading that does not suit the family's type is an error.
    fn sample(&mut self, labels: &LabelPairs<'_>, reading: Reading<'_>) -> fmt::Result;
}

/// Each bucket's bound with its own observations: a [`Histogram`] counts all up to the bound.
pub fn own_counts(histogram: &Histogram) -> Vec<(f64, u64)> {
    let mut below = 0;
    let own = histogram.buckets.iter().map(|(bound, up_to)| {
        let own = up_to.saturating_sub(below);
        below = *up_to;
        (*bound, own)
    });
    own.collect()
}

/// All observations of a histogram.
pub fn observations(histogram: &Histogram) -> u64 {
    histogram.buckets.last().map_or(0, |(_, up_to)| *up_to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_counts_what_is_above_the_bound_before() {
        let histogram = Histogram { buckets: vec![(0.1, 5), (1.0, 7), (f64::INFINITY, 9)], sum: 12.5 };
        assert_eq!(own_counts(&histogram), [(0.1, 5), (1.0, 2), (f64::INFINITY, 2)]);
        assert_eq!(observations(&histogram), 9);
        assert_eq!(observations(&Histogram::default()), 0);
    }
}
