//! The callers of system calls in libc.

use super::program::Program;
use super::*;
use crate::attribution::code_paths::stacks::{Normalized, Step, normalize, walk_copy};
use std::fs;
use std::os::unix::fs::FileExt;
use tlsclose_common::facts::{LeafRule, StackHeader, leaf};
use tlsclose_common::limits::{COPY_PAGES, PAGE};

/// Every place in libc behind a `syscall` instruction of these functions.
#[test]
fn libc_leaves_have_rules() {
    let own = Mapped::of(own_id());
    let libc = own.mapped.ids().find(|id| own.modules.get(*id).unwrap().path.contains("libc.so")).unwrap();
    let file = own.modules.get(libc).unwrap();
    let data = fs::read(&*file.path).unwrap();
    let elf = object::File::parse(&*data).unwrap();
    use object::{Object, ObjectSymbol};
    let mut symbolizer = symbolizer();
    for function in ["recv", "accept4", "accept", "read", "send", "shutdown", "connect"] {
        let symbol = elf.dynamic_symbols().find(|s| s.name() == Ok(function)).unwrap();
        let start = symbol.address() as usize;
        let code = &data[start..start + symbol.size() as usize];
        let leaves: Vec<usize> =
            code.windows(2).enumerate().filter(|(_, w)| *w == [0x0f, 0x05]).map(|(at, _)| start + at + 2).collect();
        assert!(!leaves.is_empty(), "{function}");
        for pc in leaves {
            // In this library file offsets of code are addresses.
            let rule = symbolizer.caller(&own.modules, libc, pc as u64, true).unwrap().leaf_rule();
            assert_eq!(rule.status, leaf::FROM_STACK_POINTER, "{function} {pc:#x}");
            assert!((0..256).contains(&rule.return_address), "{function} {rule:?}");
            // A path that can be cancelled makes room on the stack first.
            assert_eq!(rule.return_address % 8, 0);
        }
    }
    // The start of a function: nobody returns there.
    let recv = elf.dynamic_symbols().find(|symbol| symbol.name() == Ok("recv")).unwrap().address();
    assert_eq!(symbolizer.caller(&own.modules, libc, recv - 1, false), Ok(Caller::Stray));
    // Not code at all.
    let rule = symbolizer.caller(&own.modules, libc, 8, true).unwrap().leaf_rule();
    assert_eq!(rule.status, leaf::NONE);
    assert_eq!(symbolizer.failures, 0);
}

/// Registers of a blocked thread (`/proc/PID/syscall`) and the top of its stack.
fn blocked_stack(program: &Program) -> (StackHeader, Vec<u8>) {
    let pid = program.id().tgid;
    let (sp, pc) = loop {
        let text = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap();
        let words: Vec<&str> = text.split_whitespace().collect();
        if words[0] == libc_recvfrom() {
            let hex = |word: &str| u64::from_str_radix(&word[2..], 16).unwrap();
            break (hex(words[7]), hex(words[8]));
        }
        std::thread::yield_now();
    };
    let mut bytes = vec![0; COPY_PAGES * PAGE];
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let page_start = sp - sp % PAGE as u64;
    let mut filled = 0;
    for (page, bytes) in bytes.chunks_mut(PAGE).enumerate() {
        let at = page_start + (page * PAGE) as u64;
        filled |= u64::from(memory.read_exact_at(bytes, at).is_ok()) << page;
    }
    let header = StackHeader { pc, sp, filled, ..StackHeader::default() };
    (header, bytes)
}

/// Number of recvfrom, which recv() is, as /proc prints it.
fn libc_recvfrom() -> &'static str {
    "45"
}

#[test]
fn the_caller_of_a_blocked_recv_is_named() {
    for threads in [false, true] {
        let program = Program::compile_and_run(threads);
        let (header, bytes) = blocked_stack(&program);
        let found = Mapped::of(program.id());
        let mut symbolizer = symbolizer();
        let (module, offset) = found.mapped.find(header.pc).unwrap();
        let rule = symbolizer.caller(&found.modules, module, offset, true).unwrap().leaf_rule();
        let by_frame_pointer = LeafRule { status: leaf::NONE, ..rule };
        let step = |depth, _| Step::By(if depth == 0 { rule } else { by_frame_pointer });
        let Normalized { places, is_cut: cut } = normalize(&walk_copy(&header, &bytes, step).pcs, &found.mapped);
        assert!(!cut);
        let places: Vec<_> =
            places.iter().enumerate().map(|(depth, (module, offset))| (*module, *offset, depth > 0)).collect();
        let stack = symbolizer.names(&found.modules, &places).known.concat();
        let caller = &stack[1];
        assert_eq!(caller.function.as_deref(), Some("h"), "{threads} {stack:?}");
        assert_eq!(caller.line, Some(10), "{threads}");
        // With threads, recv() can be cancelled, and saves the frame pointer on its way. Without,
        // it is still in its register, which is not to be had from outside.
        let names: Vec<_> = functions(&stack);
        assert_eq!(names.contains(&"main"), threads, "{names:?} {rule:?}");
    }
}
