//! Harness of the on-kernel tests: namespaces, processes that end with their test, the agent and
//! its answers, and the programs that leak.
//!
//! Tests run in parallel on one host and the census sees all of it, so every assertion is about
//! the PIDs and command names of the test's own processes. So one agent serves most of them
//! ([`agent::Agent::shared`]); those that start, stop or measure one, or need flags, have their own.
#![forbid(unsafe_code)]

pub mod agent;
pub mod browser;
pub mod btf;
pub mod child;
pub mod collector;
pub mod containerd;
pub mod cri;
pub mod expect;
pub mod front;
pub mod host;
pub mod http;
pub mod image;
pub mod leaky;
pub mod machine;
pub mod manifest;
pub mod memory;
pub mod metrics;
pub mod netns;
pub mod prometheus;
pub mod report;
pub mod rights;
pub mod tls;
pub mod tmux;

use std::time::{Duration, Instant};

/// A time to wait for something at most: longer where `TLSCLOSE_TEST_PATIENCE` says how many times,
/// as for a machine whose processors are emulated.
pub fn patient(timeout: Duration) -> Duration {
    let times = std::env::var("TLSCLOSE_TEST_PATIENCE").ok().and_then(|times| times.parse().ok());
    timeout * times.unwrap_or(1)
}

/// When to give up waiting for what a quiet machine does within `timeout`: a busy one takes longer, and where all is
/// well nobody waits so long.
pub(crate) fn in_vain(timeout: Duration) -> Duration {
    patient(timeout).max(3 * timeout)
}

/// Calls `probe` until it gives a value.
///
/// # Panics
/// Long after `timeout`, saying what was waited for.
pub fn wait_for<T>(what: &str, timeout: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let timeout = in_vain(timeout);
    let end = Instant::now() + timeout;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "waited {timeout:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// `n` seconds.
pub const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}
