//! Maps of JIT compilers, which anybody may write: names are bounded, and belong to their addresses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tlsclose_symbols::{perf_map::PerfMap, protocol::NAME_MAX};

fuzz_target!(|input: (Vec<u64>, &[u8])| {
    let (addresses, bytes) = input;
    let map = PerfMap::read(bytes);
    for address in addresses.into_iter().chain([0, 0x1000, u64::MAX]) {
        let name = map.name(address);
        assert!(name.is_none_or(|name| name.function.is_some_and(|function| function.len() <= NAME_MAX)));
    }
});
