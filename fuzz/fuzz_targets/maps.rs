//! `/proc/PID/maps`, whose paths are anybody's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tlsclose_fuzz::attribution::modules::maps::executable;

fuzz_target!(|bytes: &[u8]| {
    let found = executable(bytes);
    assert!(found.iter().all(|mapping| mapping.start < mapping.end));
    assert!(found.is_sorted_by_key(|mapping| mapping.start));
});
