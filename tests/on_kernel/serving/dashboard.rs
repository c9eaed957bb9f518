//! The dashboard for Grafana: every query, asked of a real Prometheus.

use std::fs;

use serde_json::Value;
use tlsclose_tests::child::run;
use tlsclose_tests::host::{needs, root};
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::prometheus::Prometheus;
use tlsclose_tests::report::list;
use tlsclose_tests::tls::{Wire, watching};
use tlsclose_tests::{seconds, wait_for};

fn dashboard() -> Value {
    let file = root().join("deploy/grafana/tlsclose.json");
    serde_json::from_slice(&fs::read(file).expect("the dashboard")).expect("JSON")
}

/// As Grafana does with "All" chosen everywhere.
fn with_variables(expression: &str) -> String {
    let all = ["$namespace", "$instance", "$site"]
        .iter()
        .fold(expression.to_owned(), |text, variable| text.replace(variable, ".*"));
    let ready = all.replace("$__rate_interval", "10s");
    assert!(!ready.contains('$'), "a variable that the dashboard does not have: {ready}");
    ready
}

#[test]
fn every_panel_shows_something_while_a_program_leaks() {
    needs(&["prometheus", "python3"]);
    let namespace = Netns::new();
    let agent = watching(&namespace);
    let prometheus = Prometheus::start(agent.port(), "");
    let leak = ["--count", "600", "--rate", "10", "--for", "60"];
    let leaky = Leaky::start(&namespace, Language::C, way_named("eof_forget"), &leak);
    let judged = format!("tlsclose_leaking_sockets{{comm=\"{}\"}} > 0", leaky.comm);
    wait_for("the verdict", seconds(60), || prometheus.query(&judged).filter(|series| !series.is_empty()));

    let truncating = Wire::new();
    let truncate = || run(&mut truncating.command(&namespace, &["--count", "5"]), seconds(20));
    let dashboard = dashboard();
    let panels = list(&dashboard["panels"]).filter(|panel| panel["type"] != "row");
    let mut asked = 0;
    for panel in panels {
        for target in list(&panel["targets"]) {
            let expression = target["expr"].as_str().expect("an expression");
            // What hosts do not give: nothing, on most.
            let may_be_empty = expression.starts_with("tlsclose_feature");
            let what = format!("{}: {expression}", panel["title"]);
            let ready = with_variables(expression);
            wait_for(&what, seconds(15), || {
                if expression.contains("tls_closes") {
                    assert_eq!(truncate().code, Some(0));
                }
                prometheus.query(&ready).filter(|all| may_be_empty || !all.is_empty())
            });
            asked += 1;
        }
    }
    assert!(asked >= 20, "{asked} queries");
    // Each variable that a query uses can be chosen.
    let variables: Vec<&str> = list(&dashboard["templating"]["list"]).filter_map(|it| it["name"].as_str()).collect();
    assert_eq!(variables, ["datasource", "instance", "namespace", "site"]);
    for variable in list(&dashboard["templating"]["list"]).skip(1) {
        let asks = variable["query"]["query"].as_str().expect("a query");
        let choice = asks.strip_prefix("label_values(").and_then(|asks| asks.strip_suffix(")")).expect("label_values");
        let (metric, label) = choice.split_once(", ").expect("a metric and a label");
        // As Grafana asks: the label is one of the metric, even where all its values are empty.
        let series = prometheus.query(&with_variables(metric)).filter(|all| !all.is_empty()).expect(metric);
        let values = series.iter().filter(|one| !one["metric"][label].is_null()).count();
        assert!(values > 0 || label == "namespace", "{asks}: {series:?}");
    }
}
