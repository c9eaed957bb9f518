//! Text that other programs chose, made harmless.

use std::borrow::Cow;

/// The text with everything escaped that could move the cursor, colour, reorder or hide what stands
/// beside it: fit for a terminal, a log line and a label.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if is_hostile(char) {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown.into()
}

/// The same of bytes, of which what is no UTF-8 becomes U+FFFD.
pub fn printable(bytes: &[u8]) -> String {
    escape(&String::from_utf8_lossy(bytes)).into_owned()
}

/// Control characters, and those that break or reorder lines or have no width (Unicode's
/// bidirectional controls, invisible operators and the byte order mark).
fn is_hostile(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_control_a_terminal_is_escaped() {
        let cases = [
            ("plain é 名", "plain é 名"),
            ("a\x1b[31mb", "a\\u{1b}[31mb"),
            ("a\nb\tc\r", "a\\nb\\tc\\r"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("a\u{200b}b\u{2060}c\u{feff}", "a\\u{200b}b\\u{2060}c\\u{feff}"),
            ("\x7f", "\\u{7f}"),
            ("back\\slash", "back\\slash"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(escape(text), expected, "{text:?}");
            assert_eq!(printable(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(printable(b"a\xffb"), "a\u{fffd}b");
    }
}
