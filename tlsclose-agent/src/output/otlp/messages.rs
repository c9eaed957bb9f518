//! Families as OTLP's messages.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
        ScopeMetrics, Sum, metric::Data, number_data_point::Value,
    },
    resource::v1::Resource,
};

use super::conventions;
use crate::{
    api,
    output::metrics::{
        sink::{FamilyHead, LabelPairs, Reading, Samples, Sink, Type, observations, own_counts},
        write_own, write_snapshot,
    },
};

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// When the totals began, and now, in nanoseconds since the epoch.
#[derive(Clone, Copy)]
struct Span {
    start: u64,
    now: u64,
}

/// All that a snapshot and the agent's own process say, with totals since `started`.
pub fn request(snapshot: &api::Snapshot, started: SystemTime, now: SystemTime) -> ExportMetricsServiceRequest {
    let nanoseconds = |time: SystemTime| {
        time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    };
    let span = Span { start: nanoseconds(started), now: nanoseconds(now) };
    let version = env!("CARGO_PKG_VERSION");
    let attributes = [
        ("service.name", "tlsclose"),
        ("service.version", version),
        ("host.name", &*snapshot.report.host),
        ("os.type", "linux"),
        ("os.version", &*snapshot.report.kernel),
    ];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes: attributes.map(key_value).into(), ..Resource::default() }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(InstrumentationScope {
                    name: "tlsclose".to_owned(),
                    version: version.to_owned(),
                    ..InstrumentationScope::default()
                }),
                metrics: metrics(snapshot, span),
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

fn metrics(snapshot: &api::Snapshot, span: Span) -> Vec<Metric> {
    let mut messages = Messages { span, metrics: Vec::new() };
    let written = write_snapshot(snapshot, &mut messages).and_then(|()| write_own(&mut messages));
    written.expect("each family has samples of its own type");
    messages.metrics.retain(|metric| metric.data.as_ref().is_some_and(has_points));
    messages.metrics
}

fn key_value((key, value): (&str, &str)) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }),
        ..KeyValue::default()
    }
}

/// Every family so far, those without a sample too.
struct Messages {
    span: Span,
    metrics: Vec<Metric>,
}

impl Sink for Messages {
    fn family<'a>(&'a mut self, head: &FamilyHead) -> Result<Box<dyn Samples + 'a>, fmt::Error> {
        let mut points = Points { span: self.span, data: None };
        if let Some((name, unit)) = conventions::metric(head.name) {
            self.metrics.push(Metric {
                name,
                description: head.help.to_owned(),
                unit: unit.to_owned(),
                ..Metric::default()
            });
            points.data = self.metrics.last_mut().map(|metric| metric.data.insert(without_points(head.kind)));
        }
        Ok(Box::new(points))
    }
}

fn without_points(kind: Type) -> Data {
    match kind {
        Type::Counter => Data::Sum(Sum { aggregation_temporality: CUMULATIVE, is_monotonic: true, ..Sum::default() }),
        Type::Gauge => Data::Gauge(Gauge::default()),
        Type::Histogram => Data::Histogram(Histogram { aggregation_temporality: CUMULATIVE, ..Histogram::default() }),
    }
}

fn has_points(data: &Data) -> bool {
    match data {
        Data::Sum(sum) => !sum.data_points.is_empty(),
        Data::Gauge(gauge) => !gauge.data_points.is_empty(),
        Data::Histogram(histogram) => !histogram.data_points.is_empty(),
        Data::ExponentialHistogram(_) | Data::Summary(_) => false,
    }
}

/// The points of one family; of none, where another name says the same.
struct Points<'a> {
    span: Span,
    data: Option<&'a mut Data>,
}

impl Samples for Points<'_> {
    fn sample(&mut self, labels: &LabelPairs<'_>, reading: Reading<'_>) -> fmt::Result {
        let span = self.span;
        match (self.data.as_deref_mut(), reading) {
            (None, _) => {}
            (Some(Data::Sum(sum)), Reading::Whole(total)) => sum.data_points.push(number(span, labels, whole(total))),
            (Some(Data::Sum(sum)), Reading::Real(total)) => {
                sum.data_points.push(number(span, labels, Value::AsDouble(total)));
            }
            (Some(Data::Gauge(gauge)), Reading::Whole(value)) => {
                gauge.data_points.push(number(span, labels, whole(value)));
            }
            (Some(Data::Gauge(gauge)), Reading::Real(value)) => {
                gauge.data_points.push(number(span, labels, Value::AsDouble(value)));
            }
            (Some(Data::Histogram(histogram)), Reading::Histogram(of)) => {
                histogram.data_points.push(distribution(span, labels, of));
            }
            (Some(_), _) => return Err(fmt::Error),
        }
        Ok(())
    }
}

fn number(span: Span, labels: &LabelPairs<'_>, value: Value) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: span.start,
        time_unix_nano: span.now,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

/// OTLP's whole numbers have a sign: a total that does not fit loses its last digits.
fn whole(number: u64) -> Value {
    i64::try_from(number).map_or(Value::AsDouble(number as f64), Value::AsInt)
}

/// OTLP counts each bucket by itself, and leaves out the bound that is infinite.
fn distribution(span: Span, labels: &LabelPairs<'_>, histogram: &api::Histogram) -> HistogramDataPoint {
    let (bounds, bucket_counts): (Vec<f64>, Vec<u64>) = own_counts(histogram).into_iter().unzip();
    HistogramDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: span.start,
        time_unix_nano: span.now,
        count: observations(histogram),
        sum: Some(histogram.sum),
        bucket_counts,
        explicit_bounds: bounds.into_iter().filter(|bound| bound.is_finite()).collect(),
        ..HistogramDataPoint::default()
    }
}

/// The labels that say something.
fn attributes(labels: &LabelPairs<'_>) -> Vec<KeyValue> {
    let said = labels.iter().filter(|(_, value)| !value.is_empty());
    said.map(|(label, value)| key_value(conventions::attribute(label, value))).collect()
}

#[cfg(test)]
mod tests;
