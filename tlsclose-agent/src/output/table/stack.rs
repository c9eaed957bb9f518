//! Code paths, innermost frame first, in columns.

use super::report_layout::Layout;
use tlsclose_core::model::{Frame, escape, principal_frame};

/// Functions longer than this do not widen the column.
const WIDEST: usize = 40;

/// A title and the frames below it.
pub fn section(text: &mut String, title: &str, stack: &[Frame], layout: &Layout) {
    *text += &format!("  {}\n", layout.colour.label(title));
    if stack.is_empty() {
        *text += "    (no stack)\n";
    }
    let names: Vec<String> = stack.iter().map(name).collect();
    let width = names.iter().map(|name| name.chars().count()).filter(|length| *length <= WIDEST).max().unwrap_or(0);
    for (frame, name) in stack.iter().zip(&names) {
        let line = format!("    {name:<width$}  {}", whereabouts(frame, layout.wide));
        *text += line.trim_end();
        text.push('\n');
    }
}

/// Says that the outermost frames of the stack above are missing.
pub fn cut(text: &mut String) {
    *text += "    … (cut)\n";
}

fn name(frame: &Frame) -> String {
    let name = match &frame.function {
        Some(function) => escape(function).into_owned(),
        None => "?".to_owned(),
    };
    match frame.inlined {
        true => format!("{name} (inlined)"),
        false => name,
    }
}

/// The source where it is known, else the module; both and the build when wide.
fn whereabouts(frame: &Frame, wide: bool) -> String {
    let source = principal_frame::source(frame).map(|source| escape(&source).into_owned());
    let module = frame.module.as_ref().map(|module| {
        let offset = frame.offset.as_ref().map(|offset| format!("+{offset}"));
        escape(&format!("{module}{}", offset.unwrap_or_default())).into_owned()
    });
    let build = frame.build_id.as_ref().map(|id| format!("[{}]", escape(id)));
    let parts: Vec<String> = match (wide, source) {
        (false, Some(source)) => vec![source],
        (false, None) => module.into_iter().collect(),
        (true, source) => source.into_iter().chain(module).chain(build).collect(),
    };
    parts.join("  ")
}
