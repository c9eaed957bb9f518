//! What the versions of CPython differ in, x86-64, with a GIL.
//!
//! Up to 3.12 the offsets stand in a table here, from the headers of 3.8.18, 3.9.18, 3.10.13,
//! 3.11.7 and 3.12.1; they do not change between patch releases. From 3.13 on the interpreter
//! says most of them itself (`_Py_DebugOffsets`, Include/internal/pycore_runtime.h, from 3.14
//! pycore_debug_offsets.h), at the beginning of `_PyRuntime`.

use tlsclose_common::facts::{Interpreter, line_table};
use tlsclose_symbols::runtime::Runtime;

const COOKIE: &[u8] = b"xdebugpy";

/// No structure of CPython is that large, in bytes.
const OFFSET_MAX: u64 = 1 << 20;

/// How to walk an interpreter whose file is mapped from `base` on; else the version that is not
/// known, in words.
pub fn interpreter(runtime: &Runtime, base: u64) -> Result<Interpreter, String> {
    let version = version(runtime).ok_or_else(|| "CPython of an unknown version".to_owned())?;
    let unknown = || format!("CPython {}.{}", version.0, version.1);
    let offsets = match version {
        (3, 8 | 9) => Some(UP_TO_3_9),
        (3, 10) => Some(IN_3_10),
        (3, 11) => Some(IN_3_11),
        (3, 12) => Some(IN_3_12),
        (3, minor @ (13 | 14)) => by_debug_offsets(&runtime.head, minor),
        _ => None,
    };
    let offsets = offsets.ok_or_else(unknown)?;
    Ok(Interpreter { runtime: base.wrapping_add(runtime.address), ..offsets })
}

/// Major and minor.
fn version(runtime: &Runtime) -> Option<(u64, u64)> {
    let says = if runtime.head.starts_with(COOKIE) { word(&runtime.head, 1) } else { runtime.version };
    // PY_VERSION_HEX: major, minor, micro, level in a byte each.
    says.map(|hex| (hex >> 24, hex >> 16 & 0xff)).or(match runtime.size {
        1464 => Some((3, 8)),
        656 => Some((3, 9)),
        672 => Some((3, 10)),
        _ => None,
    })
}

const UP_TO_3_9: Interpreter = Interpreter {
    runtime: 0,
    interpreters: 32,
    interpreter_next: 0,
    threads: 8,
    thread_next: 8,
    thread_id: 176,
    frame: 24,
    frame_indirect: Interpreter::ABSENT,
    frame_back: 24,
    frame_code: 32,
    frame_instruction: 104,
    frame_owner: Interpreter::ABSENT,
    code_file: 104,
    code_name: 112,
    code_function: 112,
    code_table: 120,
    code_first_line: 40,
    code_instructions: Interpreter::ABSENT,
    text_ascii: 48,
    text_other: 72,
    line_table: line_table::LNOTAB,
};

const IN_3_10: Interpreter = Interpreter { frame_instruction: 96, line_table: line_table::RANGES, ..UP_TO_3_9 };

const IN_3_11: Interpreter = Interpreter {
    interpreters: 40,
    threads: 16,
    thread_id: 152,
    frame: 56,
    frame_indirect: 8,
    frame_back: 48,
    frame_instruction: 56,
    code_file: 112,
    code_name: 120,
    code_function: 128,
    code_table: 136,
    code_first_line: 72,
    code_instructions: 184,
    line_table: line_table::LOCATIONS,
    ..UP_TO_3_9
};

const IN_3_12: Interpreter = Interpreter {
    threads: 72,
    thread_id: 136,
    frame_indirect: 0,
    frame_back: 8,
    frame_code: 0,
    frame_owner: 70,
    code_first_line: 68,
    code_instructions: 192,
    text_ascii: 40,
    text_other: 56,
    ..IN_3_11
};

/// What 3.13 and 3.14 say of themselves; strings are as in 3.12.
fn by_debug_offsets(head: &[u8], minor: u64) -> Option<Interpreter> {
    const FREE_THREADED: usize = 2;
    // Where, in words, the blocks on thread states, frames and code objects begin.
    let (thread, frame, code) = if minor == 13 { (19, 28, 34) } else { (22, 31, 39) };
    if word(head, FREE_THREADED) != Some(0) {
        return None;
    }
    let offset = |index: usize| word(head, index).filter(|offset| *offset < OFFSET_MAX).map(|offset| offset as u32);
    Some(Interpreter {
        interpreters: offset(5)?,
        interpreter_next: offset(8)?,
        threads: offset(9)?,
        thread_next: offset(thread + 2)?,
        frame: offset(thread + 4)?,
        frame_indirect: Interpreter::ABSENT,
        thread_id: offset(thread + 5)?,
        frame_back: offset(frame + 1)?,
        frame_code: offset(frame + 2)?,
        frame_instruction: offset(frame + 3)?,
        frame_owner: offset(frame + 5)?,
        code_file: offset(code + 1)?,
        code_name: offset(code + 2)?,
        code_function: offset(code + 3)?,
        code_table: offset(code + 4)?,
        code_first_line: offset(code + 5)?,
        code_instructions: offset(code + 9)?,
        ..IN_3_12
    })
}

fn word(bytes: &[u8], index: usize) -> Option<u64> {
    let word = bytes.get(index * 8..index * 8 + 8)?;
    Some(u64::from_le_bytes(word.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime(size: u64, version: Option<u64>, words: &[u64]) -> Runtime {
        let mut head = words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        head.resize(1024, 0);
        Runtime { address: 0x1000, size, version, head }
    }

    fn debug_offsets(version: u64, free_threaded: u64) -> Vec<u64> {
        let mut words: Vec<u64> = (0..64).map(|index| index * 8).collect();
        words[0] = u64::from_le_bytes(COOKIE.try_into().unwrap());
        (words[1], words[2]) = (version, free_threaded);
        words
    }

    #[test]
    fn versions_are_told_by_size_by_symbol_and_by_what_they_say() {
        let cases = [
            (runtime(1464, None, &[]), Some((3, 8))),
            (runtime(656, None, &[]), Some((3, 9))),
            (runtime(672, None, &[]), Some((3, 10))),
            (runtime(99, Some(0x030b_02f0), &[]), Some((3, 11))),
            (runtime(672, Some(0x030c_01f0), &[]), Some((3, 12))),
            (runtime(99, Some(0x030b_02f0), &debug_offsets(0x030d_00f0, 0)), Some((3, 13))),
            (runtime(1520, None, &[]), None),
        ];
        for (runtime, expected) in cases {
            assert_eq!(version(&runtime), expected, "{runtime:?}");
        }
    }

    #[test]
    fn an_interpreter_that_is_not_known_is_not_guessed() {
        let old = interpreter(&runtime(1520, None, &[]), 0).unwrap_err();
        assert_eq!(old, "CPython of an unknown version");
        let new = interpreter(&runtime(0, Some(0x030f_00f0), &debug_offsets(0x030f_00f0, 0)), 0).unwrap_err();
        assert_eq!(new, "CPython 3.15");
        assert!(interpreter(&runtime(0, None, &debug_offsets(0x030d_00f0, 1)), 0).is_err(), "free-threaded");
        let mut wild = debug_offsets(0x030d_00f0, 0);
        wild[9] = OFFSET_MAX;
        assert!(interpreter(&runtime(0, None, &wild), 0).is_err());
        let short = Runtime { head: COOKIE.to_vec(), ..runtime(0, None, &[]) };
        assert!(interpreter(&short, 0).is_err());
    }

    #[test]
    fn what_the_interpreter_says_of_itself_is_taken() {
        for (version, thread, frame, code) in [(0x030d_00f0, 19, 28, 34), (0x030e_00f0, 22, 31, 39)] {
            let found = interpreter(&runtime(0, None, &debug_offsets(version, 0)), 0x40_0000).unwrap();
            assert_eq!(found.runtime, 0x40_1000);
            assert_eq!((found.interpreters, found.threads), (5 * 8, 9 * 8));
            assert_eq!(found.thread_id, (thread + 5) * 8);
            assert_eq!((found.frame_code, found.frame_owner), ((frame + 2) * 8, (frame + 5) * 8));
            assert_eq!((found.code_file, found.code_instructions), ((code + 1) * 8, (code + 9) * 8));
        }
    }
}
