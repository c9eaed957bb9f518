//! Whose sockets they are, as metric series name it.

use super::Container;

/// What metric series are about: the identity labels. Empty outside a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// Namespace of the pod, as Kubernetes knows it.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container, or the short id of one that has neither a name nor a pod.
    pub container: String,
    /// Name of the program (`comm` of its process, 15 bytes at most); there outside a container, too.
    pub comm: String,
}

impl Workload {
    /// A container without a name is known by its id, shortened as its runtime shortens it.
    pub fn new(comm: String, container: Option<&Container>) -> Self {
        const SHORT_ID: usize = 12;
        let Some(container) = container else { return Self { comm, ..Self::default() } };
        let name = if container.name.is_empty() && container.pod.is_empty() {
            container.id.chars().take(SHORT_ID).collect()
        } else {
            container.name.clone()
        };
        Self { namespace: container.namespace.clone(), pod: container.pod.clone(), container: name, comm }
    }
}
