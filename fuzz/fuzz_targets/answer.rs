//! What a helper that was taken over may answer: an error, or text within bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tlsclose_symbols::protocol::{Answer, Request, receive};

fuzz_target!(|bytes: &[u8]| {
    let _ = receive::<Answer>(bytes);
    let _ = receive::<Request>(bytes);
});
