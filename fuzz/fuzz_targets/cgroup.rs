//! `/proc/PID/cgroup`: names of containers are anybody's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tlsclose_fuzz::attribution::containers::cgroup::containers;

fuzz_target!(|bytes: &[u8]| {
    let found = containers(bytes, |id| id.len() % 2 == 0);
    assert!(found.iter().all(|one| !one.id.contains(char::is_control)));
});
