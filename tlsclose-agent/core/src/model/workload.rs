//! Whose sockets they are, as metric series name it.

use super::Container;

/// What metric series are about: the identity labels. Empty outside a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    pub namespace: String,
    pub pod: String,
    pub container: String,
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
