//! A program with all that the helper reads, broken in one place at a time.

use std::fs;
use std::process::Command;

use object::{Object, ObjectSection};

use super::failures::modules_of;
use super::program::run;
use super::*;

const C: &str = "#include <stdio.h>\nstatic inline int twice(int n) { return 2 * n; }\n\
    __attribute__((noinline)) int work(int n) { return printf(\"%d\", twice(n)) + 1; }\n\
    int main(int argc, char **argv) { (void)argv; return work(argc); }\n";

/// Compiled with everything: DWARF, symbols, and a compressed copy of these.
fn whole_program() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let (source, program) = (directory.path().join("p.c"), directory.path().join("p"));
    fs::write(&source, C).unwrap();
    let compiled = Command::new("cc").args(["-g", "-O1", "-Wl,--build-id", "-o"]).args([&program, &source]).status();
    assert!(compiled.unwrap().success());
    let script = "cd \"$1\" && cp p mini && xz -k mini && objcopy --add-section .gnu_debugdata=mini.xz p";
    // Where there is no xz, without.
    run(Command::new("sh").args(["-c", script, "sh"]).arg(directory.path()));
    fs::read(program).unwrap()
}

/// Writes a number of the width that `at` is long.
fn with(whole: &[u8], at: std::ops::Range<usize>, value: u64) -> Vec<u8> {
    let mut copy = whole.to_vec();
    let width = at.len();
    copy[at].copy_from_slice(&value.to_le_bytes()[..width]);
    copy
}

/// Every field of the headers set to what breaks arithmetic; every section filled with what
/// breaks parsers; the file cut off at every section.
fn broken(whole: &[u8]) -> Vec<Vec<u8>> {
    const HEADER: [(usize, usize); 14] = [
        (4, 1),
        (5, 1),
        (6, 1),
        (16, 2),
        (18, 2),
        (24, 8),
        (32, 8),
        (40, 8),
        (52, 2),
        (54, 2),
        (56, 2),
        (58, 2),
        (60, 2),
        (62, 2),
    ];
    const SECTION: [(usize, usize); 10] =
        [(0, 4), (4, 4), (8, 8), (16, 8), (24, 8), (32, 8), (40, 4), (44, 4), (48, 8), (56, 8)];
    const SEGMENT: [(usize, usize); 6] = [(0, 4), (8, 8), (16, 8), (32, 8), (40, 8), (48, 8)];
    let word = |at: usize| u64::from_le_bytes(whole[at..at + 8].try_into().unwrap()) as usize;
    let half = |at: usize| u16::from_le_bytes(whole[at..at + 2].try_into().unwrap()) as usize;
    let (segments, sections) = (word(32), word(40));
    let segments = (0..half(56)).flat_map(|n| SEGMENT.map(|(at, width)| (segments + 56 * n + at, width)));
    let sections = (0..half(60)).flat_map(|n| SECTION.map(|(at, width)| (sections + 64 * n + at, width)));
    let fields = HEADER.into_iter().chain(segments).chain(sections);
    let values = [0, 1, 7, 0x7fff_ffff, u64::MAX / 2, u64::MAX - 8, u64::MAX, whole.len() as u64 - 1];
    let mut all: Vec<Vec<u8>> = Vec::new();
    for (number, (at, width)) in fields.enumerate() {
        // Two of them for each field, in turn.
        let chosen = [values[number % values.len()], values[(number * 3 + 5) % values.len()]];
        all.extend(chosen.map(|value| with(whole, at..at + width, value)));
    }
    let file = object::File::parse(whole).unwrap();
    for section in file.sections() {
        let Some((start, size)) = section.file_range() else { continue };
        let (start, end) = (start as usize, (start + size) as usize);
        all.push(whole[..start + (end - start) / 2].to_vec());
        for fill in [0x00, 0x7f, 0x80, 0xff] {
            let mut copy = whole.to_vec();
            copy[start..end].fill(fill);
            all.push(copy);
        }
        for step in [3, 16, 61] {
            let mut copy = whole.to_vec();
            copy[start..end].iter_mut().step_by(step).for_each(|byte| *byte ^= 0xa5);
            all.push(copy);
        }
        // What it says of its own length is a lie.
        if end - start >= 8 {
            all.push(with(whole, start..start + 4, 0xffff_fff0));
            all.push(with(whole, start..start + 4, 0xffff_ffff));
        }
    }
    all
}

#[test]
fn a_file_broken_in_any_one_place_costs_names_and_never_the_helper() {
    let whole = whole_program();
    let main = object::File::parse(&*whole).unwrap();
    let main = main.symbols().find(|symbol| object::ObjectSymbol::name(symbol) == Ok("main")).unwrap();
    let main = object::ObjectSymbol::address(&main);
    let corpus = broken(&whole);
    assert!(corpus.len() > 800, "{} files", corpus.len());
    let mut symbolizer = symbolizer();
    let mut named = 0;
    for chunk in corpus.chunks(50) {
        let contents: Vec<&[u8]> = chunk.iter().map(Vec::as_slice).chain([&*whole]).collect();
        let (modules, ids) = modules_of(&contents);
        let offsets = [main, main + 9, 0x40, whole.len() as u64 - 4, u64::MAX];
        let places: Vec<_> = ids.iter().flat_map(|id| offsets.map(|offset| (*id, offset, true))).collect();
        let frames = symbolizer.names(&modules, &places).known;
        for ((id, offset, _), frames) in places.iter().zip(&frames) {
            let last = frames.last().unwrap();
            assert_eq!(last.module.as_deref(), modules.get(*id).map(|module| &*module.path));
            assert_eq!(last.offset, Some(FileOffset(*offset)));
        }
        for id in &ids {
            let _ = symbolizer.caller(&modules, *id, main, false);
            let _ = symbolizer.python(&modules, *id);
        }
        named += frames.iter().filter(|frames| functions(frames).contains(&"main")).count();
        let good = &frames[frames.len() - offsets.len() + 1];
        assert_eq!(functions(good), ["main"], "the whole one, after broken ones");
        assert!(good[0].file.as_deref().is_some_and(|file| file.ends_with("p.c")), "{good:?}");
    }
    assert!(named > corpus.len() / 3, "only {named} of {} broken files are still named", corpus.len());
    assert_eq!(symbolizer.failures, 0, "the helper crashed or hung");
}
