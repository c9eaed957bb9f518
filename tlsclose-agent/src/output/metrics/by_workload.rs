//! The labels that most families share: whose sockets they are.

use tlsclose_core::model::Workload;

/// Names of the labels of [`labels_of`].
pub const BY_WORKLOAD: [&str; 4] = ["namespace", "pod", "container", "comm"];

/// Empty where the workload is in no pod.
pub fn labels_of(workload: &Workload) -> [&str; 4] {
    [&workload.namespace, &workload.pod, &workload.container, &workload.comm]
}
