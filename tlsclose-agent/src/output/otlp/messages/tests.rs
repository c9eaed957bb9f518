use std::time::Duration;

use super::*;
use crate::output::{metrics::families as declared, otlp::conventions::OWN, sample};

fn exported() -> Vec<Metric> {
    let (start, now) = (UNIX_EPOCH + Duration::from_secs(10), UNIX_EPOCH + Duration::from_secs(70));
    let mut request = request(&sample::snapshot(), start, now);
    request.resource_metrics.remove(0).scope_metrics.remove(0).metrics
}

fn named(name: &str) -> Metric {
    exported().into_iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("no {name}"))
}

fn strings(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let pair = |attribute: &KeyValue| match &attribute.value {
        Some(AnyValue { value: Some(any_value::Value::StringValue(value)) }) => (attribute.key.clone(), value.clone()),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(pair).collect()
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn a_series_keeps_its_identity_under_the_conventions_names() {
    let Some(Data::Gauge(leaking)) = named("tlsclose.leaking_sockets").data else { panic!("no gauge") };
    let [point] = &leaking.data_points[..] else { panic!("{leaking:?}") };
    assert_eq!(
        strings(&point.attributes),
        [
            ("k8s.namespace.name", "shop"),
            ("k8s.pod.name", "payments-6d8"),
            ("k8s.container.name", "api"),
            ("process.executable.name", "payments"),
            ("kind", "close_wait_eof_read"),
            ("site", sample::SITE),
        ]
        .map(owned)
    );
    assert_eq!((point.value, point.time_unix_nano), (Some(Value::AsInt(412)), 70_000_000_000));
}

#[test]
fn a_counter_is_a_sum_since_the_agent_started() {
    let metric = named("tlsclose.lingered_sockets");
    let Some(Data::Sum(lingered)) = metric.data else { panic!("no sum") };
    assert!(lingered.is_monotonic && lingered.aggregation_temporality == CUMULATIVE);
    let point = &lingered.data_points[0];
    assert_eq!((point.value, point.start_time_unix_nano), (Some(Value::AsInt(430)), 10_000_000_000));
    assert!(metric.description.starts_with("Sockets that began to linger"), "{}", metric.description);
}

#[test]
fn a_histogram_counts_each_bucket_by_itself() {
    let metric = named("tlsclose.half_closed");
    assert_eq!(metric.unit, "s");
    let Some(Data::Histogram(half_closed)) = metric.data else { panic!("no histogram") };
    let [point] = &half_closed.data_points[..] else { panic!("{half_closed:?}") };
    assert_eq!(strings(&point.attributes), [owned(("network.connection.state", "close_wait"))]);
    assert_eq!((&point.explicit_bounds[..], &point.bucket_counts[..]), (&[0.1, 1.0][..], &[5, 2, 2][..]));
    assert_eq!((point.count, point.sum), (9, Some(12.5)));
}

#[test]
fn states_are_spelled_as_the_conventions_spell_them() {
    let Some(Data::Gauge(sockets)) = named("tlsclose.sockets").data else { panic!("no gauge") };
    let state = |point: &NumberDataPoint| strings(&point.attributes).remove(0).1;
    let states: Vec<String> = sockets.data_points.iter().map(state).collect();
    let known = [
        "closed",
        "close_wait",
        "closing",
        "established",
        "fin_wait_1",
        "fin_wait_2",
        "last_ack",
        "listen",
        "syn_received",
        "syn_sent",
        "time_wait",
    ];
    assert!(states.len() == 11 && states.iter().all(|state| known.contains(&&**state)), "{states:?}");
}

#[test]
fn every_family_of_the_exposition_is_pushed_and_maps_back_to_its_name() {
    let exported = exported();
    for family in declared() {
        let bare = family.name.trim_end_matches("_total");
        let own = OWN.iter().find(|(name, _)| *name == bare).map(|(_, name)| *name);
        if own == Some(None) {
            continue;
        }
        let found = exported.iter().find(|metric| {
            let suffix = match &*metric.unit {
                "s" => "_seconds",
                "By" => "_bytes",
                _ => "",
            };
            own.flatten() == Some(&*metric.name) || metric.name.replace('.', "_") + suffix == bare
        });
        assert!(found.is_some(), "{} is not pushed", family.name);
    }
}
