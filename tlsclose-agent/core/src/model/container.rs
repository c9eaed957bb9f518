//! Where a process runs.

use serde::{Deserialize, Serialize};

/// Where a process runs. What its runtime did not say is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// Name of the runtime, such as `containerd`, `cri-o` or `docker`.
    pub runtime: String,
    /// Its id, whole, as the name of its cgroup says it.
    pub id: String,
    /// What its runtime calls it, which is its name in the pod.
    pub name: String,
    /// The name of its pod.
    pub pod: String,
    /// The namespace of its pod.
    pub namespace: String,
    /// Reference of its image.
    pub image: String,
}
