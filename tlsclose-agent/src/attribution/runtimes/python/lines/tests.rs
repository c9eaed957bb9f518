use serde::Deserialize;

use super::*;

/// What `recorded/record.py` wrote about one code object.
#[derive(Deserialize)]
struct Recorded {
    name: String,
    first_line: i32,
    table: String,
    /// By code unit, as `PyCode_Addr2Line` says.
    lines: Vec<Option<u32>>,
}

fn recorded(json: &str) -> Vec<Recorded> {
    let codes: Vec<Recorded> = serde_json::from_str(json).unwrap();
    assert!(codes.len() > 10 && codes.iter().any(|code| code.lines.len() > 50));
    codes
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// By version: how its tables are encoded, how an instruction at a code unit is counted, and
/// what a real interpreter of that version says.
const VERSIONS: [(&str, u32, u32, &str); 7] = [
    ("3.8", line_table::LNOTAB, 2, include_str!("../recorded/3.8.json")),
    ("3.9", line_table::LNOTAB, 2, include_str!("../recorded/3.9.json")),
    ("3.10", line_table::RANGES, 1, include_str!("../recorded/3.10.json")),
    ("3.11", line_table::LOCATIONS, 2, include_str!("../recorded/3.11.json")),
    ("3.12", line_table::LOCATIONS, 2, include_str!("../recorded/3.12.json")),
    ("3.13", line_table::LOCATIONS, 2, include_str!("../recorded/3.13.json")),
    ("3.14", line_table::LOCATIONS, 2, include_str!("../recorded/3.14.json")),
];

#[test]
fn every_instruction_has_the_line_that_the_interpreter_gives_it() {
    for (version, encoding, width, json) in VERSIONS {
        for code in recorded(json) {
            let table = bytes(&code.table);
            for (unit, expected) in code.lines.iter().enumerate() {
                let found = line(encoding, &table, true, code.first_line, unit as u32 * width);
                assert_eq!(found, *expected, "{version} {} unit {unit}", code.name);
            }
        }
    }
}

#[test]
fn a_table_that_was_cut_off_gives_the_right_line_or_none() {
    for (version, encoding, width, json) in VERSIONS {
        for code in recorded(json) {
            let table = bytes(&code.table);
            for kept in 0..table.len() {
                for (unit, expected) in code.lines.iter().enumerate() {
                    let found = line(encoding, &table[..kept], false, code.first_line, unit as u32 * width);
                    // An entry may lose columns, which nobody asks for, and still have its line.
                    assert!(found.is_none() || found == *expected, "{version} {} unit {unit} of {kept}", code.name);
                }
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_table_panics(
        encoding in 0u32..5,
        table in proptest::collection::vec(proptest::num::u8::ANY, 0..64),
        first_line in proptest::num::i32::ANY,
        instruction in proptest::num::u32::ANY,
    ) {
        line(encoding, &table, true, first_line, instruction);
        line(encoding, &table, false, first_line, instruction % 64);
    }
}
