//! Asks a container runtime for the names of a container, over CRI.
//!
//! Kubernetes' Container Runtime Interface, `runtime.v1` (cri-api, pkg/apis/runtime/v1/api.proto),
//! is what containerd (since 1.6), CRI-O (since 1.20) and cri-dockerd speak to the kubelet. Three of
//! its calls are made, all of which only read: Version, and ListContainers and ListPodSandbox for
//! one id. The messages below hold the fields that are used; the decoder skips the others. Generating
//! all 600 messages instead would need protoc on every machine that compiles this.

use std::path::Path;
use std::time::Duration;

use hyper::http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use tlsclose_core::model::printable;

/// What is refused of an answer, in bytes: one container with all its labels is a few KiB.
const ANSWER_MAX: usize = 1 << 20;
/// The runtime is on this host.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);

/// What a runtime calls a container. What it did not say is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// What the runtime calls itself.
    pub runtime: String,
    pub container: String,
    pub pod: String,
    pub namespace: String,
    pub image: String,
}

/// VersionRequest, of which nothing is used.
#[derive(Clone, PartialEq, Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Message)]
struct VersionResponse {
    #[prost(string, tag = "2")]
    runtime_name: String,
}

/// ListContainersRequest and ListPodSandboxRequest: what is used of them has the same numbers.
#[derive(Clone, PartialEq, Message)]
struct ById {
    #[prost(message, optional, tag = "1")]
    filter: Option<IdFilter>,
}

#[derive(Clone, PartialEq, Message)]
struct IdFilter {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct ListContainersResponse {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<Container>,
}

#[derive(Clone, PartialEq, Message)]
struct Container {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    pod_sandbox_id: String,
    #[prost(message, optional, tag = "3")]
    metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "4")]
    image: Option<ImageSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
    /// As the pod's author wrote it; `image` may have become a digest.
    #[prost(string, tag = "18")]
    user_specified_image: String,
}

#[derive(Clone, PartialEq, Message)]
struct ListPodSandboxResponse {
    #[prost(message, repeated, tag = "1")]
    items: Vec<PodSandbox>,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandbox {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    metadata: Option<PodSandboxMetadata>,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

/// A runtime, by its socket.
#[derive(Clone, Debug)]
pub struct Cri {
    channel: Channel,
    /// Empty until it has answered.
    runtime: String,
}

impl Cri {
    /// Connects at the first question, and again after the runtime was restarted. None when the
    /// path cannot be one of a socket. Must be called within a tokio runtime.
    pub fn new(socket: &Path) -> Option<Self> {
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.to_str()?)).ok()?;
        Some(Self { channel: endpoint.connect_timeout(CONNECT_DEADLINE).connect_lazy(), runtime: String::new() })
    }

    /// What the runtime calls the container; None when it has none with this id.
    pub async fn names(&mut self, id: &str) -> Result<Option<Names>, Status> {
        if self.runtime.is_empty() {
            let answer: VersionResponse = self.ask(Nothing {}, "/runtime.v1.RuntimeService/Version").await?;
            self.runtime = printable(answer.runtime_name.as_bytes());
        }
        let answer: ListContainersResponse = self.ask(by(id), "/runtime.v1.RuntimeService/ListContainers").await?;
        // A runtime takes the beginning of an id for the id.
        let Some(container) = answer.containers.into_iter().find(|one| one.id == id) else {
            // The cgroup of a pod's own process, which holds its network namespace.
            return Ok(self.pod(id).await?.map(|pod| self.named(None, pod)));
        };
        let pod = self.pod(&container.pod_sandbox_id).await?.unwrap_or_default();
        Ok(Some(self.named(Some(container), pod)))
    }

    async fn pod(&self, id: &str) -> Result<Option<PodSandboxMetadata>, Status> {
        let answer: ListPodSandboxResponse = self.ask(by(id), "/runtime.v1.RuntimeService/ListPodSandbox").await?;
        Ok(answer.items.into_iter().find(|pod| pod.id == id).and_then(|pod| pod.metadata))
    }

    async fn ask<Q, A>(&self, question: Q, call: &'static str) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(ANSWER_MAX);
        grpc.ready().await.map_err(|error| Status::unavailable(reason(&error)))?;
        let codec = ProstCodec::<Q, A>::default();
        Ok(grpc.unary(Request::new(question), PathAndQuery::from_static(call), codec).await?.into_inner())
    }

    fn named(&self, container: Option<Container>, pod: PodSandboxMetadata) -> Names {
        let container = container.unwrap_or_default();
        let image = container.image.unwrap_or_default();
        let image = if image.user_specified_image.is_empty() { image.image } else { image.user_specified_image };
        let shown = |text: String| printable(text.as_bytes());
        Names {
            runtime: self.runtime.clone(),
            container: shown(container.metadata.unwrap_or_default().name),
            pod: shown(pod.name),
            namespace: shown(pod.namespace),
            image: shown(image),
        }
    }
}

fn by(id: &str) -> ById {
    ById { filter: Some(IdFilter { id: id.to_owned() }) }
}

/// The innermost cause: the outer ones say "transport error".
fn reason(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
