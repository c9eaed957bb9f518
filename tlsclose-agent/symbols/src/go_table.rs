//! Go's own table of functions and lines, which stays in a program whose symbols and DWARF were
//! taken away (`-ldflags "-s -w"`): `runtime/symtab.go` and `debug/gosym/pclntab.go` of Go 1.16 and
//! later. Every number in it may be a lie.

use object::read::ReadRef;
use object::{Object, ObjectSection};

use crate::demangle::cut;
use crate::elf::section;
use crate::protocol::{NAME_MAX, Name};

/// Versions of the table, by their first word.
const GO_1_16: u32 = 0xffff_fffa;
const GO_1_18: u32 = 0xffff_fff0;
const GO_1_20: u32 = 0xffff_fff1;

/// Steps of one table of values: more than any function has instructions.
const STEPS_MAX: usize = 1 << 20;

/// Index of the table that says which call was inlined at a place.
const PCDATA_INLINE_TREE: u64 = 2;

/// The table of one program.
pub struct GoTable {
    data: Vec<u8>,
    /// Since Go 1.18 addresses are 32-bit offsets from `text`.
    is_relative: bool,
    text: u64,
    quantum: u64,
    functions: u64,
    names: u64,
    units: u64,
    files: u64,
    values: u64,
    index: u64,
}

impl GoTable {
    /// None when there is none, or its addresses are not known before the program is loaded.
    pub fn of<'a, R: ReadRef<'a>>(file: &object::File<'a, R>) -> Option<Self> {
        let data = [".gopclntab", ".data.rel.ro.gopclntab"].iter().find_map(|name| section(file, name))?;
        let text = file.section_by_name(".text")?;
        let table = Self::parse(data.into_owned(), text.address())?;
        let code = text.address()..text.address().checked_add(text.size())?;
        let starts_program = |name: &str| name.starts_with("_rt0_");
        let is_sure =
            table.name(file.entry()).is_some_and(|entry| entry.function.as_deref().is_some_and(starts_program));
        (is_sure || table.is_relative && table.text != text.address() && code.contains(&table.text)).then_some(table)
    }

    fn parse(data: Vec<u8>, section_text: u64) -> Option<Self> {
        let magic = u32_at(&data, 0)?;
        let is_relative = match magic {
            GO_1_16 => false,
            GO_1_18 | GO_1_20 => true,
            _ => return None,
        };
        let [0, 0, quantum @ (1 | 2 | 4), 8] = *data.get(4..8)? else { return None };
        let word = |index: u64| u64_at(&data, 8 + 8 * index);
        // Text start is there since 1.18, and 0 where a loader would have to fill it in.
        let rest = 2 + u64::from(is_relative);
        let text = if is_relative { word(2)? } else { 0 };
        let table = Self {
            is_relative,
            text: if is_relative && text == 0 { section_text } else { text },
            quantum: quantum.into(),
            functions: word(0)?,
            names: word(rest)?,
            units: word(rest + 1)?,
            files: word(rest + 2)?,
            values: word(rest + 3)?,
            index: word(rest + 4)?,
            data,
        };
        // The index ends within the table.
        table.entry(table.functions.checked_sub(1)?)?;
        Some(table)
    }

    /// The function around an address, and its line there. Where a call was inlined, the table names
    /// only the function that it was inlined into: then without a line.
    pub fn name(&self, address: u64) -> Option<Name> {
        let (start, function) = self.function_at(address)?;
        let name = self.function_name(function)?;
        let line = || {
            if self.is_inlined(function, start, address)? {
                return None;
            }
            let file = self.value(self.field(function, 4)?, start, address)?;
            let line = self.value(self.field(function, 5)?, start, address)?;
            Some((self.file(function, file)?, u32::try_from(line).ok()?))
        };
        let (file, line) = line().unzip();
        Some(Name { function: Some(name.into()), file: file.map(Into::into), line })
    }

    /// Address ranges of the functions of these names.
    pub fn ranges(&self, wanted: &[&str]) -> Vec<std::ops::Range<u64>> {
        let range = |number: u64| {
            let (start, function) = self.entry(number)?;
            let name = self.function_name(function)?;
            let end = self.entry(number + 1).map_or(start.saturating_add(64), |(end, _)| end);
            wanted.contains(&name.as_str()).then_some(start..end)
        };
        (0..self.functions).filter_map(range).collect()
    }

    /// Start of the function around an address, and where it is described.
    fn function_at(&self, address: u64) -> Option<(u64, u64)> {
        let (mut low, mut high) = (0, self.functions);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.entry(middle)?.0 <= address { low = middle } else { high = middle }
        }
        let (start, function) = self.entry(low)?;
        // Behind the last function there is one more address.
        let end = if low + 1 < self.functions { self.entry(low + 1)?.0 } else { self.end()? };
        (start..end).contains(&address).then_some((start, function))
    }

    /// An entry of the index: address, and position of the description.
    fn entry(&self, number: u64) -> Option<(u64, u64)> {
        let at = self.index.checked_add(number.checked_mul(2 * self.width())?)?;
        let (address, function) = (self.number(at)?, self.number(at + self.width())?);
        (number < self.functions).then_some(())?;
        Some((self.address(address)?, self.index.checked_add(function)?))
    }

    fn end(&self) -> Option<u64> {
        let at = self.index.checked_add(self.functions.checked_mul(2 * self.width())?)?;
        self.address(self.number(at)?)
    }

    fn address(&self, number: u64) -> Option<u64> {
        self.text.checked_add(number)
    }

    fn width(&self) -> u64 {
        if self.is_relative { 4 } else { 8 }
    }

    fn number(&self, at: u64) -> Option<u64> {
        if self.is_relative { u32_at(&self.data, at).map(u64::from) } else { u64_at(&self.data, at) }
    }

    /// A 32-bit field of a description, counted from the name, which follows the address.
    fn field(&self, function: u64, number: u64) -> Option<u64> {
        u32_at(&self.data, function.checked_add(self.width() + 4 * number)?).map(u64::from)
    }

    fn function_name(&self, function: u64) -> Option<String> {
        self.text_at(self.names.checked_add(self.field(function, 0)?)?)
    }

    fn file(&self, function: u64, number: i64) -> Option<String> {
        let unit = self.field(function, 7)?;
        let entry = unit.checked_add(u64::try_from(number).ok()?)?;
        let at = u32_at(&self.data, self.units.checked_add(entry.checked_mul(4)?)?)?;
        if at == u32::MAX {
            return None;
        }
        self.text_at(self.files.checked_add(at.into())?)
    }

    /// None when that cannot be told.
    fn is_inlined(&self, function: u64, start: u64, address: u64) -> Option<bool> {
        if self.field(function, 6)? <= PCDATA_INLINE_TREE {
            return Some(false);
        }
        // Behind the description's fixed part: start line since 1.20, then four bytes.
        let fixed = if u32_at(&self.data, 0) == Some(GO_1_20) { 10 } else { 9 };
        let table = self.field(function, fixed + PCDATA_INLINE_TREE)?;
        Some(table != 0 && self.value(table, start, address)? >= 0)
    }

    /// The value at `address` in a table of a function: differences of values and of addresses in
    /// turn, of variable length.
    fn value(&self, table: u64, start: u64, address: u64) -> Option<i64> {
        let mut at = usize::try_from(self.values.checked_add(table)?).ok()?;
        let (mut value, mut reached) = (-1_i64, start);
        for step in 0..STEPS_MAX {
            let difference = varint(&self.data, &mut at)?;
            if difference == 0 && step > 0 {
                return None;
            }
            let magnitude = i64::from(difference >> 1);
            value = value.checked_add(if difference & 1 == 1 { !magnitude } else { magnitude })?;
            reached = reached.checked_add(u64::from(varint(&self.data, &mut at)?) * self.quantum)?;
            if address < reached {
                return Some(value);
            }
        }
        None
    }

    fn text_at(&self, at: u64) -> Option<String> {
        let bytes = self.data.get(usize::try_from(at).ok()?..)?;
        let bytes = &bytes[..bytes.len().min(NAME_MAX)];
        let end = bytes.iter().position(|byte| *byte == 0)?;
        let text = std::str::from_utf8(&bytes[..end]).ok().filter(|text| !text.is_empty())?;
        Some(cut(text, NAME_MAX).to_owned())
    }
}

fn u32_at(data: &[u8], at: u64) -> Option<u32> {
    let at = usize::try_from(at).ok()?;
    Some(u32::from_le_bytes(data.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(data: &[u8], at: u64) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    Some(u64::from_le_bytes(data.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// LEB128, at most 32 bits.
fn varint(data: &[u8], at: &mut usize) -> Option<u32> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let byte = *data.get(*at)?;
        *at += 1;
        value |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of Go 1.18 with two functions, `main.f` at 0x1010 and `main.g` at 0x1020.
    fn table() -> Vec<u8> {
        let mut data = Vec::new();
        data.extend(GO_1_18.to_le_bytes());
        data.extend([0, 0, 1, 8]);
        // Functions, files, text, names, units, files, values, index.
        for word in [2_u64, 1, 0x1000, 72, 88, 92, 100, 112] {
            data.extend(word.to_le_bytes());
        }
        data.extend(b"\0main.f\0main.g\0\0");
        data.extend(0_u32.to_le_bytes());
        data.extend(b"leaky.go");
        data[99] = 0;
        // File 0 for 16 bytes; then line 7 for 8 bytes, and line 9 for 8.
        data.extend([2, 16, 0, 16, 8, 4, 8, 0, 0, 0, 0, 0]);
        for number in [0x10_u32, 20, 0x20, 56, 0x30] {
            data.extend(number.to_le_bytes());
        }
        for (entry, name) in [(0x10_u32, 1_u32), (0x20, 8)] {
            for field in [entry, name, 0, 0, 0, 0, 3, 0, 0] {
                data.extend(field.to_le_bytes());
            }
        }
        data
    }

    #[test]
    fn functions_and_lines_are_found_by_address() {
        let table = GoTable::parse(table(), 0).unwrap();
        let at = |address| table.name(address).map(|name| (name.function.unwrap(), name.line));
        let named = |name: &str, line| Some((name.into(), Some(line)));
        for (address, expected) in [
            (0x100f, None),
            (0x1010, named("main.f", 7)),
            (0x1018, named("main.f", 9)),
            (0x1020, named("main.g", 7)),
            (0x102f, named("main.g", 9)),
            (0x1030, None),
            (0, None),
            (u64::MAX, None),
        ] {
            assert_eq!(at(address), expected, "{address:#x}");
        }
        let ranges = table.ranges(&["main.g"]);
        assert_eq!((ranges.len(), ranges[0].start, ranges[0].end), (1, 0x1020, 0x1060));
        assert_eq!(table.name(0x1010).unwrap().file.as_deref(), Some("leaky.g"));
    }

    proptest::proptest! {
        #[test]
        fn lies_do_no_harm(
            changes in proptest::collection::vec((0..188_usize, proptest::num::u8::ANY), 0..12),
            address in 0x0f00..0x1100_u64,
        ) {
            let mut data = table();
            for (at, byte) in changes {
                if let Some(place) = data.get_mut(at) {
                    *place = byte;
                }
            }
            if let Some(table) = GoTable::parse(data, 0x1000) {
                let _ = table.name(address);
            }
        }
    }
}
