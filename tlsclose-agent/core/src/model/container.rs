//! Where a process runs.

use serde::{Deserialize, Serialize};

/// Where a process runs. What its runtime did not say is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Container {
    pub runtime: String,
    pub id: String,
    pub name: String,
    pub pod: String,
    pub namespace: String,
    pub image: String,
}
