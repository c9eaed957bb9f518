//! Makes pods as the kubelet does, over CRI (cri-api, pkg/apis/runtime/v1/api.proto): the few
//! messages and fields that the tests need.

use std::path::{Path, PathBuf};
use std::time::Duration;

use prost::Message;
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

/// A first container of a fresh runtime is not there at once.
const DEADLINE: Duration = Duration::from_secs(60);
/// The pod shares the network namespace of its node: no network plugin is needed.
const NODE: i32 = 2;
/// Each container has PIDs of its own.
const CONTAINER: i32 = 1;
const UNCONFINED: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, PartialEq, Message)]
struct NamespaceOption {
    #[prost(int32, tag = "1")]
    network: i32,
    #[prost(int32, tag = "2")]
    pid: i32,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxSecurity {
    #[prost(message, optional, tag = "1")]
    namespaces: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxSandbox {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    security: Option<SandboxSecurity>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
    #[prost(string, tag = "3")]
    log_directory: String,
    #[prost(message, optional, tag = "8")]
    linux: Option<LinuxSandbox>,
}

#[derive(Clone, PartialEq, Message)]
struct RunPodSandbox {
    #[prost(message, optional, tag = "1")]
    config: Option<SandboxConfig>,
}

/// Requests and responses that are nothing but an id.
#[derive(Clone, PartialEq, Message)]
struct Id {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerName {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, Message)]
struct Capabilities {
    #[prost(string, repeated, tag = "1")]
    add: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    drop: Vec<String>,
}

/// Of a seccomp profile.
#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(int32, tag = "1")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxContainerSecurity {
    #[prost(message, optional, tag = "1")]
    capabilities: Option<Capabilities>,
    #[prost(message, optional, tag = "3")]
    namespaces: Option<NamespaceOption>,
    #[prost(bool, tag = "7")]
    read_only_root: bool,
    #[prost(bool, tag = "11")]
    no_new_privileges: bool,
    #[prost(message, optional, tag = "15")]
    seccomp: Option<Profile>,
}

#[derive(Clone, PartialEq, Message)]
struct Mount {
    #[prost(string, tag = "1")]
    container: String,
    #[prost(string, tag = "2")]
    host: String,
    #[prost(bool, tag = "3")]
    read_only: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Resources {
    /// In bytes; 0 for no limit.
    #[prost(int64, tag = "4")]
    memory: i64,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxContainer {
    #[prost(message, optional, tag = "1")]
    resources: Option<Resources>,
    #[prost(message, optional, tag = "2")]
    security: Option<LinuxContainerSecurity>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ContainerName>,
    #[prost(message, optional, tag = "2")]
    image: Option<Image>,
    #[prost(string, repeated, tag = "3")]
    command: Vec<String>,
    #[prost(message, repeated, tag = "7")]
    mounts: Vec<Mount>,
    #[prost(string, tag = "11")]
    log_path: String,
    #[prost(message, optional, tag = "15")]
    linux: Option<LinuxContainer>,
}

#[derive(Clone, PartialEq, Message)]
struct CreateContainer {
    #[prost(string, tag = "1")]
    sandbox: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    sandbox_config: Option<SandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub container: &'a str,
    pub image: &'a str,
    pub command: &'a [&'a str],
    /// Below the root of the cgroup hierarchies.
    pub cgroup: &'a str,
    /// Where the output goes, as `NAME.log`.
    pub logs: &'a Path,
    pub privileges: Option<&'a Privileges>,
}

/// What a pod has that watches others: the PIDs of its node, no filter of system calls, and these.
#[derive(Clone, Debug)]
pub struct Privileges {
    /// All that it has, without `CAP_`.
    pub capabilities: Vec<String>,
    pub mounts: Vec<Mounted>,
    /// In bytes.
    pub memory: i64,
    pub read_only_root: bool,
    pub no_new_privileges: bool,
}

/// A place in the container, and on the node.
#[derive(Clone, Debug)]
pub struct Mounted {
    pub container: String,
    pub host: PathBuf,
    pub read_only: bool,
}

impl Privileges {
    fn security(&self) -> LinuxContainerSecurity {
        LinuxContainerSecurity {
            capabilities: Some(Capabilities { add: self.capabilities.clone(), drop: vec!["ALL".to_owned()] }),
            namespaces: Some(NamespaceOption { network: NODE, pid: NODE }),
            read_only_root: self.read_only_root,
            no_new_privileges: self.no_new_privileges,
            seccomp: Some(Profile { kind: UNCONFINED }),
        }
    }
}

/// Ids that the runtime gave.
#[derive(Clone, Debug)]
pub struct Running {
    pub pod: String,
    pub container: String,
}

pub struct Cri {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
}

impl Cri {
    /// # Panics
    /// When the path is none of a socket.
    pub fn new(socket: &Path) -> Cri {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).expect("a socket");
        let channel = runtime.block_on(async { endpoint.timeout(DEADLINE).connect_lazy() });
        Cri { runtime, channel }
    }

    /// Whether the runtime answers and knows an image by its name.
    pub fn has_image(&self, name: &str) -> bool {
        #[derive(Clone, PartialEq, Message)]
        struct ImageStatus {
            #[prost(message, optional, tag = "1")]
            image: Option<Image>,
        }
        let asked = ImageStatus { image: Some(Image { image: name.to_owned() }) };
        let answer: Result<ImageStatus, _> = self.ask("/runtime.v1.ImageService/ImageStatus", asked);
        answer.is_ok_and(|answer| answer.image.is_some())
    }

    /// Runs a pod with one container.
    ///
    /// # Panics
    /// When the runtime refuses.
    pub fn run(&self, pod: &Pod) -> Running {
        let ordinary = NamespaceOption { network: NODE, pid: CONTAINER };
        let security = pod.privileges.map_or_else(
            || LinuxContainerSecurity { namespaces: Some(ordinary), ..LinuxContainerSecurity::default() },
            Privileges::security,
        );
        let resources = pod.privileges.map(|privileges| Resources { memory: privileges.memory });
        let mounts = pod.privileges.into_iter().flat_map(|privileges| &privileges.mounts);
        let config = SandboxConfig {
            metadata: Some(Metadata {
                name: pod.name.to_owned(),
                uid: format!("{}-uid", pod.name),
                namespace: pod.namespace.to_owned(),
            }),
            log_directory: pod.logs.display().to_string(),
            linux: Some(LinuxSandbox {
                cgroup_parent: format!("{}/pod{}-uid", pod.cgroup, pod.name),
                security: Some(SandboxSecurity { namespaces: security.namespaces.clone() }),
            }),
        };
        let sandbox = self.id("RunPodSandbox", RunPodSandbox { config: Some(config.clone()) });
        let container = ContainerConfig {
            metadata: Some(ContainerName { name: pod.container.to_owned() }),
            image: Some(Image { image: pod.image.to_owned() }),
            command: pod.command.iter().map(|&word| word.to_owned()).collect(),
            log_path: format!("{}.log", pod.name),
            linux: Some(LinuxContainer { resources, security: Some(security) }),
            mounts: mounts
                .map(|mounted| Mount {
                    container: mounted.container.clone(),
                    host: mounted.host.display().to_string(),
                    read_only: mounted.read_only,
                })
                .collect(),
        };
        let create =
            CreateContainer { sandbox: sandbox.clone(), config: Some(container), sandbox_config: Some(config) };
        let container = self.id("CreateContainer", create);
        self.call::<_, Nothing>("StartContainer", Id { id: container.clone() });
        Running { pod: sandbox, container }
    }

    /// Stops the pod and its containers, and forgets them.
    pub fn remove(&self, running: &Running) {
        for call in ["StopPodSandbox", "RemovePodSandbox"] {
            let path = format!("/runtime.v1.RuntimeService/{call}");
            if let Err(status) = self.ask::<_, Nothing>(&path, Id { id: running.pod.clone() }) {
                eprintln!("{call}: {status}");
            }
        }
    }

    fn id<Q: Message + 'static>(&self, call: &str, question: Q) -> String {
        self.call::<Q, Id>(call, question).id
    }

    fn call<Q: Message + 'static, A: Message + Default + 'static>(&self, call: &str, question: Q) -> A {
        let path = format!("/runtime.v1.RuntimeService/{call}");
        self.ask(&path, question).unwrap_or_else(|status| panic!("{call}: {status}"))
    }

    fn ask<Q: Message + 'static, A: Message + Default + 'static>(
        &self,
        path: &str,
        question: Q,
    ) -> Result<A, tonic::Status> {
        self.runtime.block_on(async {
            let mut grpc = Grpc::new(self.channel.clone());
            grpc.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
            let path = path.parse().expect("a path");
            let codec = ProstCodec::<Q, A>::default();
            Ok(grpc.unary(Request::new(question), path, codec).await?.into_inner())
        })
    }
}
