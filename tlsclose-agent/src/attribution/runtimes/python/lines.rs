//! Which line an instruction belongs to: three encodings of the same table.
//!
//! The tables come out of the memory of a process that may be hostile: anything may be in them.

use tlsclose_common::facts::line_table;

/// Code units are two bytes.
const UNIT: i64 = 2;

/// The line of an instruction. None where the code has none there, or the table says nothing,
/// is damaged, or was cut off (`whole` is false) before it.
pub fn line(encoding: u32, table: &[u8], whole: bool, first_line: i32, instruction: u32) -> Option<u32> {
    let (address, first) = (i64::from(instruction), i64::from(first_line));
    let line = match encoding {
        line_table::LNOTAB => lnotab(table, whole, first, address),
        line_table::RANGES => ranges(table, first, address * UNIT),
        line_table::LOCATIONS => locations(table, first, address),
        _ => None,
    };
    line.and_then(|line| u32::try_from(line).ok()).filter(|line| *line > 0)
}

/// Pairs of an increment of the address and one, signed, of the line. What comes after the last
/// pair belongs to its line (Objects/lnotab_notes.txt of 3.9).
fn lnotab(table: &[u8], whole: bool, first: i64, address: i64) -> Option<i64> {
    let (mut at, mut line) = (0, first);
    for [increment, delta] in table.as_chunks::<2>().0 {
        at += i64::from(*increment);
        if at > address {
            return Some(line);
        }
        line += i64::from(delta.cast_signed());
    }
    whole.then_some(line)
}

/// Pairs of the length of a range and its signed distance in lines; -128: no line (PEP 626).
fn ranges(table: &[u8], first: i64, address: i64) -> Option<i64> {
    let (mut end, mut line) = (0, first);
    for [length, delta] in table.as_chunks::<2>().0 {
        let delta = delta.cast_signed();
        end += i64::from(*length);
        if delta != i8::MIN {
            line += i64::from(delta);
        }
        if address < end {
            return (delta != i8::MIN).then_some(line);
        }
    }
    None
}

/// Entries that begin with a byte whose top bit is set: form and length in code units; then, by
/// form, the distance in lines and the columns (Objects/locations.md of 3.11).
fn locations(table: &[u8], first: i64, address: i64) -> Option<i64> {
    const NO_COLUMNS: u8 = 13;
    const LONG: u8 = 14;
    const NO_LOCATION: u8 = 15;
    let (mut end, mut line) = (0, first);
    let mut rest = table;
    while let Some((head, tail)) = rest.split_first() {
        let (form, length) = (head >> 3 & 15, i64::from(head & 7) + 1);
        line += match form {
            NO_COLUMNS | LONG => signed(tail)?,
            10..=12 => i64::from(form) - 10,
            _ => 0,
        };
        end += length * UNIT;
        if address < end {
            return (form != NO_LOCATION).then_some(line);
        }
        let next = tail.iter().position(|byte| byte & 0x80 != 0)?;
        rest = &tail[next..];
    }
    None
}

/// Six bits a byte, the lowest first; bit 6 says that more follow. The lowest bit is the sign.
fn signed(bytes: &[u8]) -> Option<i64> {
    let mut value = 0i64;
    for (index, byte) in bytes.iter().take(6).enumerate() {
        value |= i64::from(byte & 0x3f) << (6 * index);
        if byte & 0x40 == 0 {
            let magnitude = value >> 1;
            return Some(if value & 1 != 0 { -magnitude } else { magnitude });
        }
    }
    None
}

#[cfg(test)]
mod tests;
