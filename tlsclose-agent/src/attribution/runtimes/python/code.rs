//! Code objects as the kernel side copied them.

use std::collections::HashMap;
use std::sync::Arc;

use tlsclose_common::facts::{PythonCode, PythonText};

use super::lines;
use tlsclose_core::model::printable;

/// Bytes of one generation of code objects.
const GENERATION_BYTES: usize = 4 << 20;

/// What a code object is called, and which instruction belongs to which line.
#[derive(Debug)]
pub struct Code {
    pub function: Option<Arc<str>>,
    pub file: Option<Arc<str>>,
    first_line: i32,
    line_table: u32,
    table: Box<[u8]>,
    /// All of the table was copied.
    whole: bool,
}

impl Code {
    pub fn new(code: &PythonCode) -> Self {
        let filled = (code.table_filled as usize).min(code.table.len());
        Self {
            function: text(&code.function, false).map(Into::into),
            file: text(&code.file, true).map(Into::into),
            first_line: code.first_line,
            line_table: code.line_table,
            table: code.table[..filled].into(),
            whole: code.table_filled == code.table_size,
        }
    }

    /// The line of an instruction, as [`tlsclose_common::facts::PythonFrame`] counts them.
    pub fn line(&self, instruction: u32) -> Option<u32> {
        lines::line(self.line_table, &self.table, self.whole, self.first_line, instruction)
    }

    /// The interpreter's own code, by which a class is called (since 3.12; Python/specialize.c).
    pub fn is_shim(&self) -> bool {
        let is_init = |text: &Option<Arc<str>>| text.as_deref() == Some("__init__");
        is_init(&self.function) && is_init(&self.file)
    }

    fn bytes(&self) -> usize {
        let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
        size_of::<Self>() + self.table.len() + text(&self.function) + text(&self.file) + 64
    }
}

/// A compact string (PEP 393). None where it is none, or empty.
fn text(text: &PythonText, keeps_end: bool) -> Option<String> {
    const COMPACT: u32 = 1 << 5;
    let width = (text.state >> 2 & 7) as usize;
    let bytes = text.bytes.get(..text.filled as usize)?;
    if text.state & COMPACT == 0 {
        return None;
    }
    let shown: String = match width {
        1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
        2 => chars(bytes.as_chunks::<2>().0.iter().map(|unit| u32::from(u16::from_le_bytes(*unit)))),
        4 => chars(bytes.as_chunks::<4>().0.iter().map(|unit| u32::from_le_bytes(*unit))),
        _ => return None,
    };
    let shown = printable(shown.as_bytes());
    let whole = text.length as usize * width == bytes.len();
    match (shown.is_empty(), whole, keeps_end) {
        (true, ..) => None,
        (_, true, _) => Some(shown),
        (_, _, true) => Some(format!("…{shown}")),
        (_, _, false) => Some(format!("{shown}…")),
    }
}

fn chars(points: impl Iterator<Item = u32>) -> String {
    points.map(|point| char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// Code objects in two generations: when one is full, the older goes.
#[derive(Debug, Default)]
pub struct Codes {
    young: HashMap<u64, Code>,
    young_bytes: usize,
    old: HashMap<u64, Code>,
    /// Ids that went.
    pub dropped: Vec<u64>,
}

impl Codes {
    pub fn get(&self, id: u64) -> Option<&Code> {
        self.young.get(&id).or_else(|| self.old.get(&id))
    }

    pub fn insert(&mut self, id: u64, code: Code) {
        if self.young_bytes >= GENERATION_BYTES {
            let old = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            let young = &self.old;
            self.dropped.extend(old.into_keys().filter(|id| !young.contains_key(id)));
            self.young_bytes = 0;
        }
        self.young_bytes += code.bytes();
        self.young.insert(id, code);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(characters: &str, width: usize, flags: u32) -> PythonText {
        let mut bytes = [0; 256];
        let encoded: Vec<u8> =
            characters.chars().flat_map(|c| u32::from(c).to_le_bytes().into_iter().take(width)).collect();
        bytes[..encoded.len()].copy_from_slice(&encoded);
        let state = (width as u32) << 2 | 1 << 5 | flags;
        PythonText { length: characters.chars().count() as u32, state, filled: encoded.len() as u32, pad: 0, bytes }
    }

    #[test]
    fn strings_of_every_width_are_read() {
        for (characters, width) in [("main", 1), ("Größe", 1), ("путь", 2), ("пу\u{1f600}", 4)] {
            assert_eq!(text(&string(characters, width, 0), false).as_deref(), Some(characters));
        }
    }

    #[test]
    fn a_string_that_was_cut_says_so() {
        let mut long = string("abcd", 1, 0);
        long.length = 9;
        assert_eq!(text(&long, false).as_deref(), Some("abcd…"));
        assert_eq!(text(&long, true).as_deref(), Some("…abcd"));
    }

    #[test]
    fn what_is_no_compact_string_has_no_text() {
        let mut none = string("abcd", 1, 0);
        none.state = 1 << 2;
        assert_eq!(text(&none, false), None);
        none.state = 3 << 2 | 1 << 5;
        assert_eq!(text(&none, false), None);
        none.filled = 257;
        assert_eq!(text(&none, false), None);
        assert_eq!(text(&string("", 1, 0), false), None);
    }

    #[test]
    fn no_name_can_draw_on_the_terminal() {
        assert_eq!(text(&string("evil\x1b[2J", 1, 0), false).as_deref(), Some("evil\\u{1b}[2J"));
    }

    #[test]
    fn code_objects_are_forgotten_by_generation_and_named() {
        let code = || Code {
            function: None,
            file: None,
            first_line: 1,
            line_table: 3,
            table: vec![0; GENERATION_BYTES / 2].into(),
            whole: true,
        };
        let mut codes = Codes::default();
        for id in 1..=5 {
            codes.insert(id, code());
        }
        assert_eq!(codes.dropped.iter().copied().collect::<std::collections::BTreeSet<_>>(), [1, 2].into());
        assert!(codes.get(1).is_none() && codes.get(3).is_some() && codes.get(5).is_some());
    }
}
