//! Who holds a socket, and by which descriptor.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderInfo {
    pub pid: u32,
    pub comm: String,
    pub fd: u32,
}
