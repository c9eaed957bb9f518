use tlsclose_common::facts::{PythonText, line_table};

use super::*;

fn text(text: &str) -> PythonText {
    let mut bytes = [0; 256];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    let length = text.len() as u32;
    PythonText { length, state: 1 << 2 | 1 << 5 | 1 << 6, filled: length, pad: 0, bytes }
}

fn code(id: u64, function: &str, file: &str) -> PythonCode {
    let mut table = [0; tlsclose_common::limits::PYTHON_TABLE];
    // Two units on the first line, two on the next: forms without columns.
    table[..4].copy_from_slice(&[0x80 | 13 << 3 | 1, 0, 0x80 | 13 << 3 | 1, 2]);
    PythonCode {
        kind: 0,
        first_line: 7,
        id,
        line_table: line_table::LOCATIONS,
        pad: 0,
        table_size: 4,
        table_filled: 4,
        function: text(function),
        file: text(file),
        table,
    }
}

fn frame(code: u64, instruction: u32) -> PythonFrame {
    PythonFrame { code, address: 0, instruction, pad: 0 }
}

fn lines(python: &Python, places: &[(ModuleId, u64)]) -> Vec<String> {
    let frames = places.iter().map(|(module, number)| {
        assert_eq!(*module, MODULE);
        python.frame(*number)
    });
    frames.map(|frame| tlsclose_core::model::principal_frame::describe(&frame)).collect()
}

#[test]
fn frames_are_named_to_the_line_and_the_interpreters_own_are_left_out() {
    let mut python = Python::default();
    python.code(&code(1, "Server.serve", "/srv/app.py"));
    python.code(&code(2, "__init__", "__init__"));
    python.code(&code(3, "<module>", "/srv/app.py"));
    let stack = [frame(1, 4), frame(0, 0), frame(2, 0), frame(3, 0), frame(1, 0)];
    let places = python.places(&StackHeader::default(), &stack).unwrap();
    let expected = ["Server.serve (/srv/app.py:8)", "<module> (/srv/app.py:7)", "Server.serve (/srv/app.py:7)"];
    assert_eq!(lines(&python, &places), expected);
    let again = python.places(&StackHeader::default(), &stack).unwrap();
    assert_eq!(again, places, "the same lines have the same numbers");
}

#[test]
fn a_host_that_starts_python_all_the_time_does_not_keep_the_agent_busy() {
    let mut python = Python::default();
    let start = Instant::now();
    let allowed = (0..1000).filter(|_| python.allows_start(start)).count();
    assert_eq!(allowed, STARTS_PER_SECOND as usize);
    assert!(python.allows_start(start + Duration::from_secs(1)));
}

#[test]
fn a_line_that_is_not_known_is_left_out() {
    let mut python = Python::default();
    python.code(&code(1, "f", "a.py"));
    let places = python.places(&StackHeader::default(), &[frame(1, 100)]).unwrap();
    assert_eq!(lines(&python, &places), ["f (a.py)"]);
}

#[test]
fn a_stack_whose_code_is_missing_is_asked_for_again() {
    let mut python = Python::default();
    python.code(&code(1, "f", "a.py"));
    let header = StackHeader { key: 77, ..StackHeader::default() };
    assert_eq!(python.places(&header, &[frame(1, 0), frame(9, 0)]), None);
    let forgotten = python.forgotten();
    assert_eq!((forgotten.stacks, forgotten.codes), (vec![77], vec![9]));
    assert_eq!(python.lost.code_missing, 1);
    assert_eq!(python.places(&header, &[frame(0, 0)]), None, "nothing but the interpreter's own frames");
}
