use std::fs;

use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindSection};
use object::{Object, ObjectSection};

use super::{Code, INSTRUCTIONS_MAX, LeafRule, Mnemonic, Return, leaf, returns};
use crate::entry_points::EntryPoints;
use crate::rule::Caller;
use crate::unwind::{Registers, Tables, from_row};

const NONE: [u64; 0] = [];

/// What the code, which begins at 0, returns by behind its first `behind` bytes.
fn read(code: &[u8], behind: u64, functions: &[u64], is_leaf: bool) -> Return {
    returns(&Code::of_bytes(code), |address| functions.contains(&address), behind, is_leaf)
}

fn by(status: u32, return_address: i32, frame_pointer: i32) -> Return {
    Return::By(LeafRule { status, copies: 0, return_address, frame_pointer })
}

fn from_stack_pointer(return_address: i32, frame_pointer: i32) -> Return {
    by(leaf::FROM_STACK_POINTER, return_address, frame_pointer)
}

#[rustfmt::skip]
#[test]
fn code_is_read_on_to_where_it_returns() {
    // musl 1.2.3, accept(), behind its call of __syscall_cp:
    // mov %rax,%rdi; call __syscall_ret; add $0x18,%rsp; ret
    let accept = [0xe8, 0, 0, 0, 0, 0x48, 0x89, 0xc7, 0xe8, 0x10, 0, 0, 0, 0x48, 0x83, 0xc4, 0x18, 0xc3];
    assert_eq!(read(&accept, 5, &NONE, false), from_stack_pointer(24, leaf::UNCHANGED));
    // A system call in a function that has put nothing on the stack: syscall; ret
    assert_eq!(read(&[0x0f, 0x05, 0xc3], 2, &NONE, true), from_stack_pointer(0, leaf::UNCHANGED));
    // pop %rdx; pop %rbx; pop %rbp; ret
    assert_eq!(read(&[0x5a, 0x5b, 0x5d, 0xc3], 0, &NONE, false), from_stack_pointer(24, 16));
    // mov 0x10(%rsp),%rbp; add $0x18,%rsp; ret
    let loads = [0x48, 0x8b, 0x6c, 0x24, 0x10, 0x48, 0x83, 0xc4, 0x18, 0xc3];
    assert_eq!(read(&loads, 0, &NONE, false), from_stack_pointer(24, 16));
    // leave; ret, and the same in three steps: lea -8(%rbp),%rsp; pop %rbx; pop %rbp; ret
    let framed = by(leaf::FROM_FRAME_POINTER, 8, 0);
    assert_eq!(read(&[0xc9, 0xc3], 0, &NONE, false), framed);
    assert_eq!(read(&[0x48, 0x8d, 0x65, 0xf8, 0x5b, 0x5d, 0xc3], 0, &NONE, false), framed);
    // add $8,%rsp; jmp to: push %rbp; xor %ebp,%ebp; pop %rbp; ret
    let tail_call = [0x48, 0x83, 0xc4, 0x08, 0xeb, 0x00, 0x55, 0x31, 0xed, 0x5d, 0xc3];
    assert_eq!(read(&tail_call, 0, &NONE, false), from_stack_pointer(8, leaf::UNCHANGED));
    // test %eax,%eax; jne to the other; pop %rdx; ret; pop %rcx; ret
    let both = [0x85, 0xc0, 0x75, 0x02, 0x5a, 0xc3, 0x59, 0xc3];
    assert_eq!(read(&both, 0, &NONE, false), from_stack_pointer(8, leaf::UNCHANGED));
}

#[rustfmt::skip]
#[test]
fn code_that_is_not_understood_is_unclear() {
    for code in [
        // Both ways return, by different stacks: jne; pop; ret; ret
        &[0x75, 0x02, 0x5a, 0xc3, 0xc3][..],
        // jmp *%rax
        &[0xff, 0xe0],
        // mov %rax,%rsp; ret
        &[0x48, 0x89, 0xc4, 0xc3],
        // and $-16,%rsp; pop; ret
        &[0x48, 0x83, 0xe4, 0xf0, 0x5a, 0xc3],
        // xor %ebp,%ebp; pop %rdx; ret: the caller's is lost
        &[0x31, 0xed, 0x5a, 0xc3],
        // The caller of this would have had its stack misaligned: ret
        &[0xc3],
        // add $0x7fffffff,%rsp; pop; ret
        &[0x48, 0x81, 0xc4, 0xff, 0xff, 0xff, 0x7f, 0x5a, 0xc3],
        // No more code; half an instruction.
        &[0x5a], &[0x48, 0x83], &[],
        // A call, and padding before who knows what: call; nop; pop; ret
        &[0xe8, 0, 0, 0, 0, 0x90, 0x5a, 0xc3],
    ] {
        assert_eq!(read(code, 0, &NONE, false), Return::Unclear, "{code:x?}");
    }
    let long = [vec![0x90; INSTRUCTIONS_MAX], vec![0x5a, 0xc3]].concat();
    assert_eq!(read(&long, 0, &NONE, true), Return::Unclear);
}

#[rustfmt::skip]
#[test]
fn code_that_ends_its_thread_returns_to_nobody() {
    // musl 1.2.3, behind its call of main(): mov %eax,%edi; call exit; nops; then another function
    let stage2 = [0x89, 0xc7, 0xe8, 0, 0, 0, 0, 0x66, 0x90, 0x90, 0x5a, 0xc3];
    assert_eq!(read(&stage2, 0, &[10], false), Return::Never);
    // The same without padding.
    assert_eq!(read(&[0x89, 0xc7, 0xe8, 0, 0, 0, 0, 0x5a, 0xc3], 0, &[7], false), Return::Never);
    for code in [&[0xeb, 0xfe][..], &[0xf4], &[0x0f, 0x0b]] {
        assert_eq!(read(code, 0, &NONE, false), Return::Never, "{code:x?}");
    }
}

#[rustfmt::skip]
#[test]
fn a_return_address_is_behind_a_call() {
    for call in [
        &[0xe8, 1, 2, 3, 4][..], &[0xff, 0xd0], &[0x41, 0xff, 0xd1], &[0xff, 0x15, 1, 2, 3, 4], &[0xff, 0x54, 0x24, 0x08],
        &[0x66, 0x66, 0x48, 0xe8, 1, 2, 3, 4], &[0x67, 0xe8, 1, 2, 3, 4],
    ] {
        assert!(Code::of_bytes(call).is_behind_call(call.len() as u64), "{call:x?}");
    }
    for other in [&[0xe8, 1, 2, 3][..], &[0x90, 0x90, 0x90, 0x90, 0x90], &[0xff, 0xe0], &[0x0f, 0x05], &[]] {
        assert!(!Code::of_bytes(other).is_behind_call(other.len() as u64), "{other:x?}");
    }
}

/// In a library that has tables, the code must say the same, or nothing: for each call and each system call.
#[test]
fn code_never_contradicts_the_tables() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let path =
        maps.lines().find_map(|line| line.find('/').map(|at| &line[at..]).filter(|path| path.contains("/libc.so")));
    let data = fs::read(path.unwrap()).unwrap();
    let data = &*data;
    let file = object::File::parse(data).unwrap();
    let (code, tables, registers) =
        (Code::of(&file, data), Tables::of(&file), Registers::of(file.architecture()).unwrap());
    let starts = EntryPoints::of(&file, None);
    let section = file.section_by_name(".eh_frame").unwrap();
    let frames = EhFrame::new(section.data().unwrap(), LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame(section.address());
    let mut entries = frames.entries(&bases);
    let (mut same, mut asked) = (0, 0);
    let mut number = 0_u32;
    while let Some(entry) = entries.next().unwrap() {
        let CieOrFde::Fde(partial) = entry else { continue };
        number += 1;
        // All take half a minute without optimisation.
        if !number.is_multiple_of(7) {
            continue;
        }
        let fde = partial.parse(EhFrame::cie_from_offset).unwrap();
        let mut at = fde.initial_address();
        while at < fde.end_address() {
            let Some(instruction) = code.instruction(at) else { break };
            at = instruction.next_ip();
            let is_leaf = instruction.mnemonic() == Mnemonic::Syscall;
            if !is_leaf && instruction.mnemonic() != Mnemonic::Call {
                continue;
            }
            assert!(is_leaf || code.is_behind_call(at), "{at:#x}");
            let mut context = gimli::UnwindContext::new();
            let row = tables.eh_row(&mut context, at - u64::from(!is_leaf)).unwrap();
            let Caller::By(expected) = from_row(row, &registers) else { continue };
            asked += 1;
            if let Return::By(rule) = returns(&code, |address| starts.is_function(&file, address), at, is_leaf) {
                // The same place may be counted from either register.
                if rule.status == expected.status {
                    assert_eq!(rule, expected, "{at:#x}");
                }
                same += 1;
            }
        }
    }
    assert!(asked > 500 && same * 4 > asked * 3, "{same} of {asked}");
}

proptest::proptest! {
    #[test]
    fn no_code_panics(code in proptest::collection::vec(proptest::num::u8::ANY, 0..200), pc in 0..200_u64) {
        for is_leaf in [false, true] {
            read(&code, pc, &[pc + 7], is_leaf);
        }
    }
}
