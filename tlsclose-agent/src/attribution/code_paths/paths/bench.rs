//! What names cost: run by `cargo xtask bench names`, which shows what is printed here.

use std::fs::{self, File};
use std::ops::Range;
use std::time::Instant;

use object::{Object, ObjectSection, ObjectSegment};
use tlsclose_common::facts::record;
use tlsclose_common::limits::DEEP_COPY_PAGES;

use super::*;
use crate::attribution::process::Procfs;
use crate::attribution::symbols::tests::{helper_pid, symbolizer};

/// A program with DWARF, given by whoever runs this.
const PROGRAM: &str = "TLSCLOSE_BENCH_PROGRAM";

const STACKS: usize = 1000;
/// Frames of each stack; half of them are its own, the others those of many.
const DEPTH: usize = 20;
/// Where the program is mapped.
const BASE: u64 = 0x5555_0000_0000;
const TOP: u64 = 0x7fff_ffff_0000;

/// Return addresses behind calls, as offsets in the file and spread over all of its code, from
/// which the tables lead to a caller.
fn places(file: &object::File<'_>, data: &[u8], modules: &Modules, module: ModuleId) -> Vec<(u64, LeafRule)> {
    const CALL: u8 = 0xe8;
    let text = file.section_by_name(".text").expect(".text");
    let (start, size) = text.file_range().expect("in the file");
    let wanted = STACKS * DEPTH;
    let step = size / (wanted as u64 * 2);
    let mut symbols = symbolizer();
    let found = (0..wanted as u64 * 2).filter_map(|n| {
        let from = (start + n * step) as usize;
        let within = &data[from..from + step as usize - 4];
        let call = from + within.iter().position(|byte| *byte == CALL)?;
        let returns = call as u64 + 5;
        // The same rule whether it is looked up as a leaf or as the place behind a call.
        let rules = [(returns, true), (returns - 1, false)];
        match rules.map(|(offset, is_leaf)| symbols.caller(modules, module, offset, is_leaf)) {
            [Ok(Caller::By(rule)), other]
                if other == Ok(Caller::By(rule))
                    && rule.status == leaf::FROM_STACK_POINTER
                    && (0..512).contains(&rule.return_address) =>
            {
                Some((returns, rule))
            }
            _ => None,
        }
    });
    found.collect()
}

/// The copy of a stack on which these calls are under way.
fn copy_of(calls: &[(u64, LeafRule)], bias: u64, number: u64) -> (StackHeader, Vec<u8>) {
    let mut bytes = vec![0; DEEP_COPY_PAGES * PAGE];
    let sp = TOP - (DEEP_COPY_PAGES * PAGE) as u64;
    let mut at = sp;
    for (index, (_, rule)) in calls.iter().enumerate() {
        at += rule.return_address as u64;
        let caller = calls.get(index + 1).map_or(0, |(offset, _)| offset + bias);
        let slot = (at - sp) as usize;
        bytes[slot..slot + 8].copy_from_slice(&caller.to_le_bytes());
        at += 8;
    }
    let header = StackHeader {
        kind: record::COPY,
        tgid: std::process::id(),
        key: number | 1 << 32,
        image: 1,
        pc: calls[0].0 + bias,
        sp,
        filled: (1 << DEEP_COPY_PAGES) - 1,
        ..StackHeader::default()
    };
    (header, bytes)
}

fn anonymous_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the helper lives");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
#[ignore = "a measurement, for `cargo xtask bench names`"]
fn names_of_a_thousand_stacks() {
    let program = std::env::var_os(PROGRAM).expect(PROGRAM);
    let data = fs::read(&program).expect("the program");
    let elf = object::File::parse(&*data).expect("an ELF file");
    let mut modules = Modules::new(Procfs::new("/proc"));
    let module = modules.insert_file("/srv/large", File::open(&program).expect("the program"));
    let code: Range<u64> = elf
        .segments()
        .filter(|segment| matches!(segment.flags(), object::SegmentFlags::Elf { p_flags, .. } if p_flags.contains(object::elf::PF_X)))
        .map(|segment| segment.file_range().0..segment.file_range().0 + segment.file_range().1)
        .next()
        .expect("code");
    let places = places(&elf, &data, &modules, module);
    let own = DEPTH / 2;
    assert!(places.len() >= STACKS * own + 500, "only {} calls", places.len());
    let (mine, shared) = places.split_at(STACKS * own);
    let stacks = (0..STACKS).map(|number| {
        let shared = shared.iter().cycle().skip(number % 50 * own).take(DEPTH - own);
        let calls: Vec<_> = mine[number * own..][..own].iter().chain(shared).copied().collect();
        copy_of(&calls, BASE - code.start, number as u64)
    });
    let stacks: Vec<_> = stacks.collect();

    let mut paths = Paths::default();
    let mapped = MappedModules::of_ranges(&[(BASE, BASE + code.end - code.start, code.start, module.0)]);
    let process = ProcessId { tgid: std::process::id(), started_at: 0 };
    paths.spaces.insert(1, process, mapped);
    let mut symbols = symbolizer();
    let python = Python::default();
    let begin = Instant::now();
    for (header, bytes) in &stacks {
        paths.copied(header, bytes, &mut modules, &mut symbols);
    }
    let unwound = begin.elapsed();
    let ids: Vec<PathId> = stacks.iter().map(|(header, _)| paths.by_key(header.key).expect("a path")).collect();
    let named: Vec<_> = ids.iter().map(|id| paths.named(*id, &modules, &mut symbols, &python).known.frames).collect();
    let first = begin.elapsed();
    let again = Instant::now();
    for id in &ids {
        paths.named(*id, &modules, &mut symbols, &python);
    }
    let cached = again.elapsed();
    // What was measured was really done.
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), STACKS);
    let lines = named.iter().flatten().filter(|frame| frame.line.is_some()).count();
    assert!(lines > STACKS * DEPTH / 2, "only {lines} frames have a line");
    assert!(named.iter().all(|frames| frames.len() >= DEPTH), "a stack was cut");
    assert_eq!(symbols.failures, 0);
    let helper = anonymous_kib(helper_pid(&symbols).expect("a helper"));
    println!("size_mib={}", data.len() >> 20);
    println!("unwound_ms={:.1}", unwound.as_secs_f64() * 1e3);
    println!("first_ms={:.1}", first.as_secs_f64() * 1e3);
    println!("cached_ms={:.2}", cached.as_secs_f64() * 1e3);
    println!("helper_mib={:.1}", helper as f64 / 1024.0);
}
