//! Names that other programs chose, made harmless for a terminal.

use std::borrow::Cow;

/// The text with everything escaped that could move the cursor, colour or reorder a line.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    text.chars()
        .fold(String::with_capacity(text.len() + 8), |mut shown, char| {
            match char {
                char if !is_hostile(char) => shown.push(char),
                char if char.is_ascii() => shown.extend(char.escape_default()),
                char => shown.extend(char.escape_unicode()),
            }
            shown
        })
        .into()
}

/// Control characters, and those that reorder or break lines (Unicode's bidirectional controls).
fn is_hostile(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
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
            ("\x7f", "\\u{7f}"),
            ("back\\slash", "back\\slash"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(escape(text), expected, "{text:?}");
        }
    }
}
