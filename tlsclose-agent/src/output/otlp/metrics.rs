//! Families as OTLP's messages, under the names of OpenTelemetry's semantic conventions where those have any.
//!
//! Everything else is called `tlsclose.…`, without the suffix that says the unit: a collector that
//! writes Prometheus's format makes the names of `/metrics` of them again.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
        ScopeMetrics, Sum, metric::Data, number_data_point::Value,
    },
    resource::v1::Resource,
};

use super::exposition::{Family, Sample, families};

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// Metrics of the agent's own process (semantic conventions for processes); None has no such name.
const OWN: [(&str, Option<&str>); 6] = [
    ("process_cpu_seconds", Some("process.cpu.time")),
    ("process_resident_memory_bytes", Some("process.memory.usage")),
    ("process_virtual_memory_bytes", Some("process.memory.virtual")),
    ("process_open_fds", Some("process.unix.file_descriptor.count")),
    ("process_threads", Some("process.thread.count")),
    ("process_start_time_seconds", None),
];

/// Labels that the semantic conventions have a name for.
const ATTRIBUTES: [(&str, &str); 5] = [
    ("namespace", "k8s.namespace.name"),
    ("pod", "k8s.pod.name"),
    ("container", "k8s.container.name"),
    // "The name of the process executable", on Linux that of /proc/PID/status.
    ("comm", "process.executable.name"),
    ("state", "network.connection.state"),
];

/// States that the semantic conventions spell otherwise.
const STATES: [(&str, &str); 4] =
    [("close", "closed"), ("fin_wait1", "fin_wait_1"), ("fin_wait2", "fin_wait_2"), ("syn_recv", "syn_received")];

/// When the totals began, and now.
#[derive(Clone, Copy)]
struct Span {
    start: u64,
    now: u64,
}

pub fn request(
    text: &str,
    host: &str,
    kernel: &str,
    started: SystemTime,
    now: SystemTime,
) -> ExportMetricsServiceRequest {
    let nanoseconds = |time: SystemTime| {
        time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    };
    let span = Span { start: nanoseconds(started), now: nanoseconds(now) };
    let version = env!("CARGO_PKG_VERSION");
    let attributes = [
        ("service.name", "tlsclose"),
        ("service.version", version),
        ("host.name", host),
        ("os.type", "linux"),
        ("os.version", kernel),
    ];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: attributes.map(|(name, value)| attribute(name, value)).into(),
                ..Resource::default()
            }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(InstrumentationScope {
                    name: "tlsclose".to_owned(),
                    version: version.to_owned(),
                    ..InstrumentationScope::default()
                }),
                metrics: families(text).into_iter().filter_map(|family| metric(&family, span)).collect(),
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

fn attribute(name: &str, value: &str) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }),
        ..KeyValue::default()
    }
}

/// None for a family without samples, and for what another name says already.
fn metric(family: &Family<'_>, span: Span) -> Option<Metric> {
    if family.samples.is_empty() {
        return None;
    }
    let (bare, unit) = match family.name {
        name if name.ends_with("_seconds") => (name.trim_end_matches("_seconds"), "s"),
        name if name.ends_with("_bytes") => (name.trim_end_matches("_bytes"), "By"),
        name => (name, ""),
    };
    let name = match OWN.iter().find(|(own, _)| *own == family.name) {
        Some((_, name)) => (*name)?.to_owned(),
        None => bare.replacen('_', ".", 1),
    };
    let points = || family.samples.iter().map(|sample| point(sample, span)).collect();
    let data = match family.kind {
        "counter" => Data::Sum(Sum { data_points: points(), aggregation_temporality: CUMULATIVE, is_monotonic: true }),
        "histogram" => {
            Data::Histogram(Histogram { data_points: histograms(family, span), aggregation_temporality: CUMULATIVE })
        }
        _ => Data::Gauge(Gauge { data_points: points() }),
    };
    Some(Metric {
        name,
        description: family.help.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    })
}

fn point(sample: &Sample<'_>, span: Span) -> NumberDataPoint {
    let value = match sample.value.parse() {
        Ok(whole) => Value::AsInt(whole),
        Err(_) => Value::AsDouble(sample.number()),
    };
    NumberDataPoint {
        attributes: attributes(sample),
        start_time_unix_nano: span.start,
        time_unix_nano: span.now,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

/// The labels that say something, but for the bound of a bucket.
fn attributes(sample: &Sample<'_>) -> Vec<KeyValue> {
    let said = sample.labels.iter().filter(|(name, value)| *name != "le" && !value.is_empty());
    said.map(|(name, value)| {
        let known = ATTRIBUTES.iter().find(|(label, _)| label == name);
        let spelled = STATES.iter().find(|(state, _)| *name == "state" && state == value);
        attribute(known.map_or(name, |(_, known)| known), spelled.map_or(value, |(_, spelled)| spelled))
    })
    .collect()
}

/// One point for each set of labels. OTLP counts each bucket by itself, Prometheus all up to its bound.
fn histograms(family: &Family<'_>, span: Span) -> Vec<HistogramDataPoint> {
    let mut points: Vec<HistogramDataPoint> = Vec::new();
    let mut up_to = 0;
    for sample in &family.samples {
        let attributes = attributes(sample);
        if points.last().is_none_or(|last| last.attributes != attributes) {
            up_to = 0;
            points.push(HistogramDataPoint {
                attributes,
                start_time_unix_nano: span.start,
                time_unix_nano: span.now,
                ..HistogramDataPoint::default()
            });
        }
        let Some(point) = points.last_mut() else { continue };
        let whole = sample.number() as u64;
        match sample.suffix {
            "_sum" => point.sum = Some(sample.number()),
            "_count" => point.count = whole,
            _ => {
                let bound = sample.labels.iter().find(|(name, _)| *name == "le").and_then(|(_, le)| le.parse().ok());
                if let Some(bound) = bound.filter(|bound: &f64| bound.is_finite()) {
                    point.explicit_bounds.push(bound);
                }
                point.bucket_counts.push(whole.saturating_sub(up_to));
                up_to = whole;
            }
        }
    }
    points
}

#[cfg(test)]
mod tests;
