use super::*;
use crate::attribution::modules::ModuleId;
use proptest::prelude::*;

/// Bytes of a copy, and how far above the stack pointer it reaches.
const STACK_COPY: usize = 3 * PAGE;
const REACH: u64 = 2 * PAGE as u64;

const SP: u64 = 0x7ffd_0000_0f00;
const PC: u64 = 0x40_1000;

/// A stack whose page of `SP` starts at 0x7ffd_0000_0000.
struct Copy {
    header: StackHeader,
    bytes: Vec<u8>,
}

impl Copy {
    fn new(fp: u64, words: &[(u64, u64)]) -> Self {
        let mut bytes = vec![0; STACK_COPY];
        for (address, value) in words {
            let at = (address - (SP - SP % PAGE as u64)) as usize;
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let header = StackHeader { pc: PC, sp: SP, fp, filled: 0b111, ..StackHeader::default() };
        Self { header, bytes }
    }

    fn walk(&self, rule: LeafRule) -> Vec<u64> {
        walk_copy(&self.header, &self.bytes, leaf_only(rule)).pcs
    }
}

fn rule(status: u32, return_address: i32, frame_pointer: i32) -> LeafRule {
    LeafRule { status, copies: 0, return_address, frame_pointer }
}

/// The rule for the leaf, frame pointers for all others.
fn leaf_only(rule: LeafRule) -> impl Fn(usize, u64) -> Step {
    move |depth, _| Step::By(if depth == 0 { rule } else { none() })
}

fn none() -> LeafRule {
    rule(leaf::NONE, 0, 0)
}

#[test]
fn a_leaf_without_a_frame_has_its_caller_at_the_stack_pointer() {
    // accept4 pushed nothing; its caller f has a frame at SP + 0x40, called by main at SP + 0x80.
    let words = [(SP, 0x1111), (SP + 0x40, SP + 0x80), (SP + 0x48, 0x2222), (SP + 0x80, 1), (SP + 0x88, 0x3333)];
    let copy = Copy::new(SP + 0x40, &words);
    let found = copy.walk(rule(leaf::FROM_STACK_POINTER, 0, leaf::UNCHANGED));
    assert_eq!(found, [PC, 0x1111, 0x2222, 0x3333]);
    // Without the rule the caller is missing.
    assert_eq!(copy.walk(none()), [PC, 0x2222, 0x3333]);
}

#[test]
fn a_leaf_that_saved_the_frame_pointer_gives_it_back() {
    // recv pushed rbp, then made room: CFA = rsp + 0x30, rbp saved at CFA - 16.
    let words = [(SP + 0x28, 0x1111), (SP + 0x20, SP + 0x50), (SP + 0x50, 0), (SP + 0x58, 0x2222)];
    let copy = Copy::new(0xdead_beef, &words);
    let found = copy.walk(rule(leaf::FROM_STACK_POINTER, 0x28, 0x20));
    assert_eq!(found, [PC, 0x1111, 0x2222]);
}

#[test]
fn a_leaf_with_a_frame_is_found_from_the_frame_pointer() {
    let words = [(SP + 0x10, SP + 0x50), (SP + 0x18, 0x1111), (SP + 0x58, 0x2222)];
    let copy = Copy::new(SP + 0x10, &words);
    let found = copy.walk(rule(leaf::FROM_FRAME_POINTER, 8, 0));
    assert_eq!(found, [PC, 0x1111, 0x2222]);
}

#[test]
fn a_frame_pointer_that_is_none_ends_the_walk() {
    let returns = [(SP, 0x1111)];
    let outside = SP + REACH;
    for fp in [0, 7, SP - 8, SP + 8 + 4, SP, outside, outside - 8, u64::MAX, u64::MAX - 7] {
        let copy = Copy::new(fp, &returns);
        let found = copy.walk(rule(leaf::FROM_STACK_POINTER, 0, leaf::UNCHANGED));
        assert_eq!(found, [PC, 0x1111], "{fp:#x}");
    }
}

#[test]
fn frame_pointers_never_go_back() {
    let words = [(SP + 0x40, SP + 0x40), (SP + 0x48, 0x2222)];
    assert_eq!(Copy::new(SP + 0x40, &words).walk(none()), [PC, 0x2222]);
    let words = [(SP + 0x40, SP + 0x10), (SP + 0x48, 0x2222), (SP + 0x18, 0x3333)];
    assert_eq!(Copy::new(SP + 0x40, &words).walk(none()), [PC, 0x2222]);
}

#[test]
fn a_page_that_could_not_be_read_is_not_read() {
    let second = SP - SP % PAGE as u64 + PAGE as u64;
    let words = [(SP, 0x1111), (second, 0), (second + 8, 0x2222)];
    let by_stack = rule(leaf::FROM_STACK_POINTER, 0, leaf::UNCHANGED);
    let mut copy = Copy::new(second, &words);
    assert_eq!(copy.walk(by_stack), [PC, 0x1111, 0x2222]);
    copy.header.filled = 0b01;
    assert_eq!(copy.walk(by_stack), [PC, 0x1111]);
    copy.header.filled = 0b10;
    // A caller that is not known must not be skipped either.
    assert_eq!(copy.walk(by_stack), [PC]);
    copy.bytes.truncate(100);
    assert_eq!(copy.walk(none()), [PC]);
}

#[test]
fn functions_without_frame_pointers_are_left_by_their_rules() {
    // accept4 (CFA = sp + 8), f (0x20 bytes of locals), g (pushed rbp, used it for something else).
    let words = [(SP, 0x1111), (SP + 0x28, 0x2222), (SP + 0x30, SP + 0x60), (SP + 0x38, 0x3333)];
    let copy = Copy::new(0xdead_beef, &words);
    let by_stack = |return_address, saved| Step::By(rule(leaf::FROM_STACK_POINTER, return_address, saved));
    let Walk { pcs: found, left_copy: left, reach } = walk_copy(&copy.header, &copy.bytes, |_, pc| match pc {
        PC => by_stack(0, leaf::UNCHANGED),
        0x1111 => by_stack(0x20, leaf::UNCHANGED),
        0x2222 => by_stack(8, 0),
        _ => Step::Stop,
    });
    assert_eq!((found.as_slice(), left, reach), ([PC, 0x1111, 0x2222, 0x3333].as_slice(), false, 0x40));
}

#[test]
fn a_walk_that_leaves_the_copy_says_so() {
    let above = SP + REACH;
    for (fp, left) in [(above, true), (above + 4096, true), (u64::MAX - 7, false), (7, false), (0, false)] {
        let copy = Copy::new(fp, &[(SP, 0x1111)]);
        let by_stack = rule(leaf::FROM_STACK_POINTER, 0, leaf::UNCHANGED);
        assert_eq!(walk_copy(&copy.header, &copy.bytes, leaf_only(by_stack)).left_copy, left, "{fp:#x}");
    }
}

#[test]
fn recursion_is_shown_twice() {
    for (path, folded) in [
        ("lrsm", "lrsm"),
        ("lrrsm", "lrrsm"),
        ("lrrrrrrrsm", "lrrsm"),
        ("labababsm", "lababsm"),
        ("labcabcabcabcsm", "labcabcsm"),
        ("labababaaaam", "lababaam"),
        ("", ""),
    ] {
        assert_eq!(fold(path.chars()), folded.chars().collect::<Vec<_>>(), "{path}");
    }
}

#[test]
fn places_stop_at_the_first_address_that_is_no_code() {
    let mapped = MappedModules::of_ranges(&[(0x1000, 0x2000, 0, 1), (0x5000, 0x6000, 0x100, 2)]);
    const ONE: ModuleId = ModuleId(1);
    const TWO: ModuleId = ModuleId(2);
    type Case = (&'static [u64], &'static [(ModuleId, u64)], bool);
    let cases: [Case; 6] = [
        (&[0x1010, 0x5010], &[(ONE, 0x10), (TWO, 0x110)], false),
        (&[0x1010, 0x3000, 0x5010], &[(ONE, 0x10)], true),
        (&[0x3000, 0x5010], &[], true),
        // A return address just behind a mapping belongs to the call in it.
        (&[0x1010, 0x2000], &[(ONE, 0x10), (ONE, 0x1000)], false),
        (&[0x2000], &[], true),
        (&[0x1010, 0], &[(ONE, 0x10)], true),
    ];
    for (pcs, places, cut) in cases {
        assert_eq!(normalize(pcs, &mapped), Normalized { places: places.to_vec(), is_cut: cut }, "{pcs:x?}");
    }
}

proptest! {
    #[test]
    fn random_stacks_end(
        bytes in prop::collection::vec(any::<u8>(), 0..STACK_COPY + 9),
        (pc, sp, fp, filled) in any::<(u64, u64, u64, u64)>(),
        (status, return_address, frame_pointer) in (0..5u32, any::<i32>(), any::<i32>()),
    ) {
        let header = StackHeader { pc, sp, fp, filled, ..StackHeader::default() };
        let Walk { pcs, .. } = walk_copy(&header, &bytes, |_, _| Step::By(rule(status, return_address, frame_pointer)));
        prop_assert!(!pcs.is_empty() && pcs.len() <= FRAMES_MAX);
    }

    #[test]
    fn stacks_of_plausible_words_end(
        words in prop::collection::vec(0..STACK_COPY as u64, STACK_COPY / 8),
        at in 0..STACK_COPY as u64,
    ) {
        let bytes: Vec<u8> = words.iter().flat_map(|w| (SP - SP % 4096 + w / 8 * 8).to_le_bytes()).collect();
        let header = StackHeader { pc: PC, sp: SP, fp: SP + at, filled: u64::MAX, ..StackHeader::default() };
        prop_assert!(walk_copy(&header, &bytes, leaf_only(none())).pcs.len() <= FRAMES_MAX);
    }
}

#[test]
fn a_stack_pointer_at_the_end_of_the_address_space_is_no_overflow() {
    // The process chose it, and no word that it could name lies in the copy.
    let header = StackHeader { pc: PC, sp: u64::MAX - 3, fp: u64::MAX, filled: 0b111, ..StackHeader::default() };
    for pages in [1, 3] {
        for by in [rule(leaf::FROM_STACK_POINTER, 0, leaf::UNCHANGED), rule(leaf::FROM_STACK_POINTER, 0, 0), none()] {
            let walk = walk_copy(&header, &vec![0xff; pages * PAGE], leaf_only(by));
            assert_eq!(walk.pcs, [PC]);
        }
    }
}
