//! Families as text, by the encoder of prometheus-client.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text as openmetrics},
    metrics::MetricType,
    registry::Registry,
};

use super::sink::{FamilyHead, LabelPairs, Reading, Samples, Sink, Type, observations, own_counts};

/// OpenMetrics text of the families that `walk` writes, without the end of the exposition. `size` in
/// bytes is what it takes, about.
pub fn openmetrics_text<Walk>(walk: Walk, size: usize) -> String
where
    Walk: Fn(&mut dyn Sink) -> fmt::Result + Send + Sync + 'static,
{
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Walked(walk)));
    let mut text = String::with_capacity(size);
    openmetrics::encode_registry(&mut text, &registry).expect("writing to a string cannot fail");
    text
}

struct Walked<Walk>(Walk);

impl<Walk> fmt::Debug for Walked<Walk> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Walked")
    }
}

impl<Walk> Collector for Walked<Walk>
where
    Walk: Fn(&mut dyn Sink) -> fmt::Result + Send + Sync + 'static,
{
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        (self.0)(&mut Text(encoder))
    }
}

struct Text<'a>(DescriptorEncoder<'a>);

impl Sink for Text<'_> {
    fn family<'a>(&'a mut self, head: &FamilyHead) -> Result<Box<dyn Samples + 'a>, fmt::Error> {
        let kind = match head.kind {
            Type::Counter => MetricType::Counter,
            Type::Gauge => MetricType::Gauge,
            Type::Histogram => MetricType::Histogram,
        };
        let encoder = self.0.encode_descriptor(head.name, head.help, None, kind)?;
        Ok(Box::new(Lines { kind: head.kind, encoder }))
    }
}

/// The lines of one family.
struct Lines<'a> {
    kind: Type,
    encoder: MetricEncoder<'a>,
}

impl Samples for Lines<'_> {
    fn sample(&mut self, labels: &LabelPairs<'_>, reading: Reading<'_>) -> fmt::Result {
        let kind = self.kind;
        self.line(labels, |line| match (kind, reading) {
            (Type::Counter, Reading::Whole(total)) => line.encode_counter::<NoLabelSet, _, f64>(&total, None),
            (Type::Counter, Reading::Real(total)) => line.encode_counter::<NoLabelSet, _, f64>(&total, None),
            (Type::Gauge, Reading::Whole(value)) => line.encode_gauge(&value),
            (Type::Gauge, Reading::Real(value)) => line.encode_gauge(&value),
            (Type::Histogram, Reading::Histogram(of)) => {
                // The encoder wants each bucket's own observations and adds them up again.
                line.encode_histogram::<NoLabelSet>(of.sum, observations(of), &own_counts(of), None)
            }
            (Type::Counter | Type::Gauge, Reading::Histogram(_)) | (Type::Histogram, _) => Err(fmt::Error),
        })
    }
}

impl Lines<'_> {
    fn line(
        &mut self,
        labels: &LabelPairs<'_>,
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        match labels.is_empty() {
            true => write(&mut self.encoder),
            false => write(&mut self.encoder.encode_family(&labels)?),
        }
    }
}
