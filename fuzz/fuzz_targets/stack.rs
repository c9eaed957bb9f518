//! A copied stack, whose contents are the process's to choose, unwound by any rules: it ends, each
//! frame lies above the one before, and nothing outside the copy is used.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tlsclose_common::{
    facts::{LeafRule, StackHeader},
    limits::PAGE,
};
use tlsclose_fuzz::attribution::code_paths::stacks::{Step, fold, walk_copy};

type Input<'a> = (u64, u64, u64, u64, Vec<(u32, i32, i32)>, &'a [u8]);

fuzz_target!(|input: Input<'_>| {
    let (pc, sp, fp, filled, rules, bytes) = input;
    let header = StackHeader { pc, sp, fp, filled, ..StackHeader::default() };
    let mut pages = bytes.to_vec();
    pages.resize(bytes.len().next_multiple_of(PAGE).max(PAGE), 0);
    let walk = walk_copy(&header, &pages, |depth, _| match rules.get(depth % rules.len().max(1)) {
        Some(&(status, return_address, frame_pointer)) => {
            Step::By(LeafRule { status: status % 6, copies: 0, return_address, frame_pointer })
        }
        None => Step::Stop,
    });
    assert!(!walk.pcs.is_empty() && walk.pcs.len() <= 512);
    let folded = fold(walk.pcs.iter().copied());
    assert!(folded.len() <= walk.pcs.len());
});
