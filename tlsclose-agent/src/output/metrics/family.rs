//! A metric family: declared once, with as many label values at each sample as it has labels.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::api::Histogram;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Counter,
    Gauge,
    Histogram,
}

/// A family with `N` labels.
#[derive(Clone, Copy, Debug)]
pub struct Family<const N: usize> {
    /// As it is exposed: a counter ends in `_total`.
    pub name: &'static str,
    pub kind: Type,
    pub labels: [&'static str; N],
    /// One sentence without quotes or backslashes.
    pub help: &'static str,
}

/// A family as the documentation lists it.
#[cfg(test)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    pub name: &'static str,
    pub kind: &'static str,
    pub labels: Vec<&'static str>,
}

impl<const N: usize> Family<N> {
    pub const fn new(kind: Type, name: &'static str, labels: [&'static str; N], help: &'static str) -> Self {
        Self { name, kind, labels, help }
    }

    #[cfg(test)]
    pub fn declared(&self) -> Declared {
        Declared {
            name: self.name,
            kind: match self.kind {
                Type::Counter => "counter",
                Type::Gauge => "gauge",
                Type::Histogram => "histogram",
            },
            labels: self.labels.to_vec(),
        }
    }

    /// Writes the family's head. Its samples must follow before another family begins.
    pub fn open<'a>(&'a self, encoder: &'a mut DescriptorEncoder) -> Result<Open<'a, N>, fmt::Error> {
        let (name, kind) = match self.kind {
            Type::Counter => (self.name.strip_suffix("_total").unwrap_or(self.name), MetricType::Counter),
            Type::Gauge => (self.name, MetricType::Gauge),
            Type::Histogram => (self.name, MetricType::Histogram),
        };
        Ok(Open { labels: self.labels, encoder: encoder.encode_descriptor(name, self.help, None, kind)? })
    }
}

/// A family whose samples are being written.
pub struct Open<'a, const N: usize> {
    labels: [&'static str; N],
    encoder: MetricEncoder<'a>,
}

impl<const N: usize> Open<'_, N> {
    pub fn counter(&mut self, values: [&str; N], total: u64) -> fmt::Result {
        self.sample(values, |sample| sample.encode_counter::<NoLabelSet, _, f64>(&total, None))
    }

    pub fn counter_seconds(&mut self, values: [&str; N], total: f64) -> fmt::Result {
        self.sample(values, |sample| sample.encode_counter::<NoLabelSet, _, f64>(&total, None))
    }

    pub fn gauge(&mut self, values: [&str; N], value: u64) -> fmt::Result {
        self.sample(values, |sample| sample.encode_gauge(&value))
    }

    pub fn gauge_f64(&mut self, values: [&str; N], value: f64) -> fmt::Result {
        self.sample(values, |sample| sample.encode_gauge(&value))
    }

    pub fn histogram(&mut self, values: [&str; N], histogram: &Histogram) -> fmt::Result {
        // The encoder wants each bucket's own observations and adds them up again.
        let mut below = 0;
        let buckets: Vec<(f64, u64)> = histogram
            .buckets
            .iter()
            .map(|(bound, up_to)| {
                let own = up_to.saturating_sub(below);
                below = *up_to;
                (*bound, own)
            })
            .collect();
        self.sample(values, |sample| sample.encode_histogram::<NoLabelSet>(histogram.sum, below, &buckets, None))
    }

    fn sample(&mut self, values: [&str; N], write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result) -> fmt::Result {
        if N == 0 {
            return write(&mut self.encoder);
        }
        let mut at = 0;
        let labels = values.map(|value| {
            let pair = (self.labels[at], value);
            at += 1;
            pair
        });
        write(&mut self.encoder.encode_family(&labels)?)
    }
}
