//! A collector of OpenTelemetry: a gRPC server that keeps what is pushed to it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, number_data_point};
use tokio::sync::oneshot;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

type Pushed = Arc<Mutex<Vec<ExportMetricsServiceRequest>>>;

/// Dropping it ends the server.
pub struct Collector {
    pushed: Pushed,
    _end: oneshot::Sender<()>,
}

struct Service(Pushed);

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.0.lock().expect("no panic").push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Collector {
    /// Listens on this port of the loopback.
    pub fn start(port: u16) -> Collector {
        let pushed = Pushed::default();
        let (end, ended) = oneshot::channel::<()>();
        let service = MetricsServiceServer::new(Service(Arc::clone(&pushed)));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let server = Server::builder().add_service(service);
            let done = server.serve_with_shutdown(SocketAddr::from(([127, 0, 0, 1], port)), async {
                let _ = ended.await;
            });
            runtime.block_on(done).expect("it serves");
        });
        Collector { pushed, _end: end }
    }

    pub fn pushes(&self) -> usize {
        self.pushed.lock().expect("no panic").len()
    }

    /// Who pushed last: the attributes of its resource.
    pub fn resource(&self) -> Option<Vec<(String, String)>> {
        let pushed = self.pushed.lock().expect("no panic");
        Some(strings(&pushed.last()?.resource_metrics.first()?.resource.as_ref()?.attributes))
    }

    /// A metric of the last push.
    pub fn metric(&self, name: &str) -> Option<Metric> {
        let pushed = self.pushed.lock().expect("no panic");
        let mut metrics = pushed.last()?.resource_metrics.iter().flat_map(|of| &of.scope_metrics);
        metrics.find_map(|scope| scope.metrics.iter().find(|metric| metric.name == name)).cloned()
    }

    /// The points of a gauge or a sum that have an attribute of this value.
    pub fn points(&self, name: &str, attribute: (&str, &str)) -> Vec<NumberDataPoint> {
        let points = match self.metric(name).and_then(|metric| metric.data) {
            Some(Data::Gauge(gauge)) => gauge.data_points,
            Some(Data::Sum(sum)) => sum.data_points,
            _ => Vec::new(),
        };
        let has = |point: &NumberDataPoint| {
            strings(&point.attributes).iter().any(|(name, value)| (&**name, &**value) == attribute)
        };
        points.into_iter().filter(has).collect()
    }
}

/// A point's value.
pub fn number(point: &NumberDataPoint) -> f64 {
    match point.value {
        Some(number_data_point::Value::AsInt(whole)) => whole as f64,
        Some(number_data_point::Value::AsDouble(value)) => value,
        None => f64::NAN,
    }
}

/// Attributes that are text.
pub fn strings(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(value) => Some((attribute.key.clone(), value.clone())),
        _ => None,
    };
    attributes.iter().filter_map(text).collect()
}
