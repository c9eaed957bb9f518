//! The same metrics for those without Prometheus: pushed over OTLP/gRPC, where `--otlp.endpoint` says so.
//!
//! They are made by the walk that makes `/metrics`, so that nothing can differ between the two ways.

use std::{
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use axum::http::{Uri, uri::PathAndQuery};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use tokio::time::MissedTickBehavior;
use tonic::{
    Request, Status,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use crate::api::Snapshot;

mod conventions;
mod messages;

/// opentelemetry-proto, collector/metrics/v1/metrics_service.proto.
const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(10);

/// Where a collector listens: `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector(String);

impl FromStr for Collector {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "write it like http://collector:4317 (gRPC; TLS is the work of a collector on this host)";
        let uri: Uri = text.parse().map_err(|_| FORM)?;
        let is_plain = uri.path() == "/" && uri.query().is_none() && !text.contains('@');
        match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(authority)) if is_plain && authority.port_u16().is_some() => {
                Ok(Self(format!("http://{authority}")))
            }
            _ => Err(FORM),
        }
    }
}

/// Pushes every snapshot that there is at each interval, until it is dropped. A collector that does not
/// answer costs a line in the log when it begins and when it is back, and never more memory: totals
/// are cumulative, so the next push says what was missed.
pub async fn push(collector: Collector, interval: Duration, snapshots: Arc<ArcSwap<Snapshot>>) {
    let Ok(endpoint) = Endpoint::from_shared(collector.0.clone()) else { return };
    let channel = endpoint.connect_timeout(CONNECT_DEADLINE).timeout(DEADLINE).connect_lazy();
    let started = SystemTime::now();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answers = true;
    loop {
        ticks.tick().await;
        let snapshot = snapshots.load_full();
        if !snapshot.ready {
            // The first census is not done; soon it is.
            ticks.reset_after(interval.min(Duration::from_secs(1)));
            continue;
        }
        match export(&channel, messages::request(&snapshot, started, SystemTime::now())).await {
            Ok(()) => {
                if !answers {
                    log::info!("metrics are pushed to {} again", collector.0);
                }
                answers = true;
            }
            Err(status) => {
                if answers {
                    log::warn!("cannot push metrics to {}: {}; trying again", collector.0, said(&status));
                }
                answers = false;
            }
        }
    }
}

async fn export(channel: &Channel, request: ExportMetricsServiceRequest) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = ProstCodec::<ExportMetricsServiceRequest, ExportMetricsServiceResponse>::default();
    let answer = grpc.unary(Request::new(request), PathAndQuery::from_static(EXPORT), codec).await?;
    match answer.into_inner().partial_success {
        Some(partial) if partial.rejected_data_points > 0 => Err(Status::invalid_argument(format!(
            "{} points were refused: {}",
            partial.rejected_data_points, partial.error_message
        ))),
        _ => Ok(()),
    }
}

/// What the collector or the connection said, harmless for a terminal and bounded.
fn said(status: &Status) -> String {
    let text: String = status.message().chars().take(200).collect();
    tlsclose_core::model::escape(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_an_address_of_plain_grpc() {
        for good in ["http://collector:4317", "http://127.0.0.1:4317/", "http://[::1]:4317"] {
            let Collector(read) = good.parse().expect(good);
            assert_eq!(read, good.trim_end_matches('/'));
        }
        for bad in
            ["", "collector:4317", "https://collector:4317", "http://collector", "http://a:1/path", "http://u@a:1"]
        {
            assert!(bad.parse::<Collector>().is_err_and(|said| said.contains("http://collector:4317")), "{bad}");
        }
    }
}
