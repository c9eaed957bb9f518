//! A metric family: declared once, with as many label values at each sample as it has labels.

use std::fmt;

use super::sink::{FamilyHead, Reading, Sink, Type};

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

    /// Writes the family: its head and all its samples.
    pub fn write<'a, R: Into<Reading<'a>>>(
        &self,
        sink: &mut dyn Sink,
        samples: impl IntoIterator<Item = ([&'a str; N], R)>,
    ) -> fmt::Result {
        let name = match self.kind {
            Type::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            Type::Gauge | Type::Histogram => self.name,
        };
        let mut open = sink.family(&FamilyHead { name, kind: self.kind, help: self.help })?;
        for (values, reading) in samples {
            let labels: [_; N] = std::array::from_fn(|at| (self.labels[at], values[at]));
            open.sample(&labels, reading.into())?;
        }
        Ok(())
    }
}
