//! Code objects out of a process's memory: strings of any width and kind, and three kinds of line tables.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tlsclose_common::facts::{PythonCode, PythonText};
use tlsclose_fuzz::attribution::runtimes::python::code::Code;

fn text(input: (u32, u32, &[u8])) -> PythonText {
    let (length, state, bytes) = input;
    let mut text = PythonText { length, state, filled: bytes.len() as u32, pad: 0, bytes: [0; _] };
    let filled = bytes.len().min(text.bytes.len());
    text.bytes[..filled].copy_from_slice(&bytes[..filled]);
    text
}

type Input<'a> = (u32, i32, u32, u32, (u32, u32, &'a [u8]), (u32, u32, &'a [u8]), &'a [u8]);

fuzz_target!(|input: Input<'_>| {
    let (line_table, first_line, table_size, instruction, function, file, bytes) = input;
    let mut code = PythonCode {
        kind: 0,
        first_line,
        id: 1,
        line_table: line_table % 5,
        pad: 0,
        table_size,
        table_filled: bytes.len() as u32,
        function: text(function),
        file: text(file),
        table: [0; _],
    };
    let filled = bytes.len().min(code.table.len());
    code.table[..filled].copy_from_slice(&bytes[..filled]);
    let code = Code::new(&code);
    let is_clean = |text: &str| !text.contains(char::is_control);
    assert!(code.function.as_deref().is_none_or(is_clean) && code.file.as_deref().is_none_or(is_clean));
    assert_ne!(code.line(instruction), Some(0));
    code.is_shim();
});
