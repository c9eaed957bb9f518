//! The name of a cause: the same on every host, after every restart, and after a rebuild that
//! only moves code.

use xxhash_rust::xxh3::Xxh3;

use super::{CodePath, Frame, Kind, Touch};

/// Between frames, and between the two stacks. Neither occurs in a printable name.
const FRAME_END: u8 = 0x1e;
const STACK_END: u8 = 0x1d;

/// Frames of one stack that count, innermost first: deep enough to tell causes apart, and no
/// deeper than every way of taking a stack reaches.
const FRAMES_COUNTED: usize = 16;

/// A code path, as far as it was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trace<'a> {
    /// Innermost first; none where no stack was taken.
    pub stack: &'a [Frame],
    /// It reaches the start of the program or of a thread.
    pub whole: bool,
}

impl<'a> Trace<'a> {
    /// Of frames with the innermost first. `whole`: they reach the start of the program or of its thread.
    pub fn new(stack: &'a [Frame], whole: bool) -> Self {
        Self { stack, whole }
    }
}

impl<'a> From<&'a CodePath> for Trace<'a> {
    fn from(path: &'a CodePath) -> Self {
        Self::new(&path.frames, path.whole)
    }
}

impl<'a> From<&'a Touch> for Trace<'a> {
    fn from(touch: &'a Touch) -> Self {
        Self::new(&touch.stack, touch.whole)
    }
}

/// Twelve hexadecimal digits over the kind, the program (base name of its executable) and the
/// program's own frames of both stacks, innermost first. An own frame counts by its function,
/// else by build id and offset; its line does not count, nor how often it, or a cycle of calls, recurs in a row.
///
/// Where neither stack has an own frame, all frames count, if one of the stacks is whole: then
/// libc and the like were all there was. Else what was cut off was the cause, and any other cause
/// that makes the same call looks the same: such stacks have no site.
pub fn site_id(kind: Kind, program: &str, opened: Trace<'_>, touched: Trace<'_>) -> Option<String> {
    let traces = [opened, touched];
    let any_own = traces.iter().any(|trace| trace.stack.iter().any(is_own));
    let any_whole = traces.iter().any(|trace| trace.whole && !trace.stack.is_empty());
    if !any_own && !any_whole {
        return None;
    }
    let mut hash = Xxh3::new();
    hash.update(kind_name(kind).as_bytes());
    hash.update(&[FRAME_END]);
    hash.update(base_name(program).as_bytes());
    for Trace { stack, .. } in traces {
        hash.update(&[STACK_END]);
        let counted = stack.iter().filter(|frame| !any_own || is_own(frame));
        for key in once(counted.map(key)).iter().take(FRAMES_COUNTED) {
            hash.update(key.as_bytes());
            hash.update(&[FRAME_END]);
        }
    }
    Some(format!("{:012x}", hash.digest() >> 16))
}

/// libc, its threads and its loader, and the vDSO: a module that every program has, so that its
/// frames say nothing about the cause.
pub fn is_runtime_module(path: &str) -> bool {
    const RUNTIME: [&str; 9] =
        ["libc.so", "libc-2.", "libpthread.so", "libpthread-2.", "ld-linux", "ld-2.", "ld.so", "ld-musl", "libc.musl"];
    let name = base_name(path);
    name == "[vdso]" || RUNTIME.iter().any(|prefix| name.starts_with(prefix))
}

/// Without the second of two cycles of calls that follow each other: how deep a recursion went does not count.
fn once(keys: impl Iterator<Item = String>) -> Vec<String> {
    let mut once: Vec<String> = Vec::new();
    for key in keys {
        once.push(key);
        let len = once.len();
        let is_twice = |cycle: &usize| once[len - cycle..] == once[len - 2 * cycle..len - cycle];
        if let Some(cycle) = (1..=FRAMES_COUNTED.min(len / 2)).find(is_twice) {
            once.truncate(len - cycle);
        }
    }
    once
}

fn is_own(frame: &Frame) -> bool {
    !frame.module.as_deref().is_some_and(is_runtime_module)
}

/// What a frame counts by.
fn key(frame: &Frame) -> String {
    if let Some(function) = &frame.function {
        // Python's functions belong to a file; its directory is not the same on every host.
        let file = frame.file.as_deref().filter(|_| frame.module.is_none()).map(base_name);
        let function = if may_be_clone(frame) { without_clone(function) } else { function };
        return function.to_owned() + file.unwrap_or_default();
    }
    let offset = frame.offset.map(|offset| offset.to_string()).unwrap_or_default();
    match (&frame.build_id, &frame.module) {
        (Some(build_id), _) => format!("{build_id}+{offset}"),
        (None, Some(module)) => format!("{}+{offset}", base_name(module)),
        (None, None) => offset,
    }
}

/// Whether a compiler may have put a mark behind its name: not of Python and JIT code, which belong to no module, nor
/// of Go, where a function may be called `cold` and stand behind a dot.
fn may_be_clone(frame: &Frame) -> bool {
    frame.module.is_some() && !frame.file.as_deref().is_some_and(|file| file.ends_with(".go"))
}

/// The function without the marks of a compiler that split or specialised it: they come and go
/// with every build. `.cold` may end a name, all others have a number behind them.
fn without_clone(function: &str) -> &str {
    let dots = function.match_indices('.').map(|(at, _)| at);
    let mark = dots.filter(|at| is_mark(&function[at + 1..]));
    let ends = mark.chain(function.find(" [clone "));
    let end = ends.filter(|end| *end > 0).min().unwrap_or(function.len());
    &function[..end]
}

/// Whether a mark stands here, behind a dot.
fn is_mark(text: &str) -> bool {
    const MARKS: [&str; 6] = ["cold", "constprop", "part", "isra", "llvm", "lto_priv"];
    let mut parts = text.split('.');
    let mark = parts.next().unwrap_or_default();
    match parts.next() {
        None => mark == "cold",
        Some(number) => MARKS.contains(&mark) && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()),
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// In quotes, as JSON has it: site ids have always been made so, and they never move.
fn kind_name(kind: Kind) -> String {
    format!("\"{}\"", kind.name())
}

#[cfg(test)]
mod tests;
