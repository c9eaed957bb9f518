//! The record walker, over any bytes in any pieces: it never fails, never asks for more than
//! headers, and says the same however the bytes were split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tlsclose_common::tls::{Direction, HEADER, mark};

/// Feeds one call's bytes.
fn feed(direction: &mut Direction, bytes: &[u8]) {
    let mut at = 0;
    while at < bytes.len() && !direction.is_lost() {
        let left = (bytes.len() - at) as u32;
        if direction.body() > 0 {
            let skipped = direction.body().min(left);
            direction.skip(skipped);
            at += skipped as usize;
            continue;
        }
        let wants = direction.wants();
        assert!((1..=HEADER).contains(&wants));
        let take = wants.min(left) as usize;
        let mut header = [0; 8];
        header[..take].copy_from_slice(&bytes[at..at + take]);
        direction.header(header, take as u32);
        at += take;
    }
}

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (bytes, sizes) = input;
    let mut whole = Direction::NEW;
    feed(&mut whole, &bytes);
    let mut pieces = Direction::NEW;
    let mut rest = &bytes[..];
    for size in sizes {
        let (piece, more) = rest.split_at(rest.len().min(usize::from(size)));
        feed(&mut pieces, piece);
        rest = more;
    }
    feed(&mut pieces, rest);
    assert_eq!(pieces.marks(), whole.marks());
    let marks = whole.marks();
    assert!(marks & mark::LOST == 0 || marks & (mark::GOODBYE | mark::MAYBE) == 0);
});
