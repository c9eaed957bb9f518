//! How a benchmark is run.

use std::path::PathBuf;
use std::time::Duration;

/// What every measurement needs to know.
pub struct Plan {
    pub rounds: u32,
    pub load: Duration,
    /// For configurations and logs.
    pub directory: PathBuf,
}
