//! What the helper says, made fit to be shown: it has read hostile files, and may lie.

use std::sync::Arc;

use tlsclose_common::facts::{LeafRule, leaf};
use tlsclose_symbols::demangle::cut;
use tlsclose_symbols::protocol::{NAME_MAX, Name};
use tlsclose_symbols::rule::{Caller, FRAME_MAX, Rule};

use crate::attribution::modules::{ModuleId, Modules};
use tlsclose_core::model::printable;
use tlsclose_core::model::{FileOffset, Frame};

/// Longest build id, in hexadecimal digits.
const BUILD_ID_MAX: usize = 128;

/// The frames of one place. All but the last were inlined into the next.
pub fn frames(modules: &Modules, module: ModuleId, offset: u64, names: &[Name]) -> Vec<Frame> {
    let module = modules.get(module);
    let frame = |name: &Name, inlined| Frame {
        function: name.function.clone(),
        file: name.file.clone(),
        line: name.line,
        module: module.map(|m| Arc::clone(&m.path)),
        build_id: module.and_then(|m| m.build_id()).map(Arc::clone),
        offset: Some(FileOffset(offset)),
        inlined,
    };
    let Some((outermost, inlined)) = names.split_last() else {
        return vec![frame(&Name::default(), false)];
    };
    let inlined = inlined.iter().map(|name| frame(name, true));
    inlined.chain([frame(outermost, false)]).collect()
}

/// A name as it may be shown.
pub fn clean(name: Name) -> Name {
    let shown = |text: Arc<str>| printable(cut(&text, NAME_MAX).as_bytes()).into();
    Name {
        function: name.function.filter(|f| !f.is_empty()).map(shown),
        file: name.file.filter(|f| !f.is_empty()).map(shown),
        line: name.line.filter(|line| *line > 0),
    }
}

/// A rule that the kernel side may follow.
pub fn checked(rule: Rule) -> Caller {
    let (status, return_address, frame_pointer) = match rule {
        Rule::By { status, return_address, frame_pointer } => (status, return_address, frame_pointer),
        Rule::FramePointer => return Caller::FramePointer,
        Rule::Root => return Caller::Root,
        Rule::Stray => return Caller::Stray,
        Rule::Unknown => return Caller::Unknown,
    };
    let sane = |offset: i32| i64::from(offset).abs() <= FRAME_MAX;
    let known = matches!(status, leaf::FROM_STACK_POINTER | leaf::FROM_FRAME_POINTER);
    let saved = frame_pointer == leaf::UNCHANGED || sane(frame_pointer);
    if !(known && saved && sane(return_address)) {
        return Caller::Unknown;
    }
    Caller::By(LeafRule { status, copies: 0, return_address, frame_pointer })
}

pub fn is_build_id(text: &str) -> bool {
    (1..=BUILD_ID_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_makes_no_sense_is_no_rule() {
        let rule = |status, return_address, frame_pointer| Rule::By { status, return_address, frame_pointer };
        let good = checked(rule(leaf::FROM_STACK_POINTER, 8, leaf::UNCHANGED)).leaf_rule();
        assert_eq!((good.status, good.return_address), (leaf::FROM_STACK_POINTER, 8));
        for bad in [
            rule(leaf::UNKNOWN, 8, 0),
            rule(77, 8, 0),
            rule(leaf::FROM_FRAME_POINTER, i32::MAX, 0),
            rule(leaf::FROM_FRAME_POINTER, 0, i32::MIN + 1),
        ] {
            assert_eq!(checked(bad), Caller::Unknown, "{bad:?}");
        }
    }

    #[test]
    fn names_cannot_draw_on_the_terminal() {
        let name = clean(Name { function: Some("evil\x1b[2J".into()), file: Some("".into()), line: Some(0) });
        assert_eq!(name.function.as_deref(), Some("evil\\u{1b}[2J"));
        assert_eq!((name.file, name.line), (None, None));
    }

    #[test]
    fn a_build_id_is_hexadecimal() {
        assert!(is_build_id("4c1f"));
        for bad in ["", "4c1g", "../../x", &"a".repeat(129)] {
            assert!(!is_build_id(bad));
        }
    }
}
