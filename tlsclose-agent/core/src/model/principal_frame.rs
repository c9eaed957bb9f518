//! Which frame of a stack is *the* place: the innermost one that the program's author wrote.

use super::Frame;

/// Shared objects that are never the place: the author called them.
const LIBRARIES: [&str; 11] = [
    "libc.",
    "libc-",
    "ld-",
    "ld.",
    "libpthread",
    "libstdc++",
    "libgcc_s",
    "libssl",
    "libcrypto",
    "libgnutls",
    "[vdso]",
];

/// Functions of language runtimes that are linked into the program itself.
const RUNTIMES: [&str; 23] = [
    "std::",
    "<std::",
    "core::",
    "<core::",
    "alloc::",
    "<alloc::",
    "tokio::",
    "<tokio::",
    "mio::",
    "<mio::",
    "socket2::",
    "rustix::",
    "__libc_",
    "__GI_",
    "runtime.",
    "runtime/",
    "syscall.",
    "internal/",
    "net.",
    "net/http.",
    "bufio.",
    "io.",
    "crypto/tls.",
];

/// The innermost frame of the program's own code; where none can be told apart, the innermost
/// frame with a name; else the innermost frame.
pub fn principal(stack: &[Frame]) -> Option<&Frame> {
    own(stack)
        // A program in Python may be a package itself.
        .or_else(|| stack.iter().find(|frame| is_python_package(frame)))
        .or_else(|| stack.iter().find(|frame| frame.function.is_some()))
        .or_else(|| stack.first())
}

fn own(stack: &[Frame]) -> Option<&Frame> {
    let mut written = stack.iter().filter(|frame| frame.function.is_some() && !is_library(frame) && !is_runtime(frame));
    let first = written.next()?;
    // Where the program has line numbers, what has none is a library that was linked into it.
    let lined = written.find(|frame| frame.file.is_some() && frame.module == first.module);
    lined.filter(|_| first.file.is_none()).or(Some(first))
}

fn is_library(frame: &Frame) -> bool {
    let module = frame.module.as_deref().unwrap_or_default();
    let name = module.rsplit('/').next().unwrap_or_default();
    LIBRARIES.iter().any(|library| name.starts_with(library))
}

fn is_runtime(frame: &Frame) -> bool {
    let function = frame.function.as_deref().unwrap_or_default();
    let file = frame.file.as_deref().unwrap_or_default();
    RUNTIMES.iter().any(|prefix| function.starts_with(prefix))
        || file.starts_with("/rustc/")
        || file.contains("/.cargo/registry/")
        || is_python_library(frame)
}

/// Python's standard library, packages that were installed with the scripts that start them, and
/// code that is built in.
fn is_python_library(frame: &Frame) -> bool {
    let file = frame.file.as_deref().filter(|_| frame.module.is_none()).unwrap_or_default();
    file.contains("/lib/python3") || file.contains("/bin/") || file.starts_with("<frozen ")
}

fn is_python_package(frame: &Frame) -> bool {
    let file = frame.file.as_deref().unwrap_or_default();
    file.contains("/site-packages/") || file.contains("/dist-packages/")
}

/// `function (file:line)`, as far as it is known; else `module+offset`; else `an unknown place`.
pub fn describe(frame: &Frame) -> String {
    match (&frame.function, &frame.module) {
        (Some(function), _) => match source(frame) {
            Some(source) => format!("{function} ({source})"),
            None => function.to_string(),
        },
        (None, Some(module)) => match &frame.offset {
            Some(offset) => format!("{module}+{offset}"),
            None => module.to_string(),
        },
        (None, None) => "an unknown place".to_owned(),
    }
}

/// `file:line`, or `file` where the line is not known.
pub fn source(frame: &Frame) -> Option<String> {
    let file = frame.file.as_ref()?;
    Some(match frame.line {
        Some(line) => format!("{file}:{line}"),
        None => file.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FileOffset;

    fn frame(function: &str, module: &str, file: &str) -> Frame {
        let known = |text: &str| (!text.is_empty()).then(|| text.into());
        Frame { function: known(function), module: known(module), file: known(file), ..Frame::default() }
    }

    #[test]
    fn the_place_is_the_innermost_frame_that_the_author_wrote() {
        let libc = frame("__libc_read", "/usr/lib/x86_64-linux-gnu/libc.so.6", "");
        let std = frame("std::sys::net::read", "/srv/app", "/rustc/1/library/std/a.rs");
        let krate = frame("pool::get", "/srv/app", "/root/.cargo/registry/src/x/pool/lib.rs");
        let go = frame("net.(*conn).Read", "/srv/go", "/usr/lib/go/src/net/net.go");
        let own = frame("handle_request", "/srv/app", "src/server.rs");
        let linked_in = frame("recvfrom", "/srv/app", "");
        let callback = frame("run_loop", "/usr/lib/libloop.so", "loop.c");
        let blind = frame("", "/srv/app", "");
        let python = frame("socket.accept", "", "/usr/lib/python3.11/socket.py");
        let package = frame("Session.get", "", "/srv/venv/lib/python3.11/site-packages/requests/sessions.py");
        let frozen = frame("_run_code", "", "<frozen runpy>");
        let script = frame("<module>", "", "/srv/venv/bin/serve");
        let cases: [(&[&Frame], Option<&Frame>); 14] = [
            (&[&libc, &python, &package, &script], Some(&package)),
            (&[&libc, &python, &own, &script], Some(&own)),
            (&[&libc, &python, &package, &frozen, &own], Some(&own)),
            (&[&libc, &own], Some(&own)),
            (&[&std, &krate, &own], Some(&own)),
            (&[&go, &own], Some(&own)),
            (&[&linked_in, &own, &own], Some(&own)),
            (&[&linked_in, &callback], Some(&linked_in)),
            (&[&linked_in], Some(&linked_in)),
            (&[&blind, &own], Some(&own)),
            (&[&blind, &libc], Some(&libc)),
            (&[&libc, &std], Some(&libc)),
            (&[&blind], Some(&blind)),
            (&[], None),
        ];
        for (stack, expected) in cases {
            let stack: Vec<Frame> = stack.iter().map(|frame| (*frame).clone()).collect();
            assert_eq!(principal(&stack), expected);
        }
    }

    #[test]
    fn a_place_is_described_by_the_best_that_is_known() {
        let mut full = frame("handle", "/srv/app", "src/a.rs");
        assert_eq!(describe(&full), "handle (src/a.rs)");
        full.line = Some(7);
        assert_eq!(describe(&full), "handle (src/a.rs:7)");
        assert_eq!(describe(&frame("handle", "/srv/app", "")), "handle");
        let mut unnamed = frame("", "/srv/app", "");
        assert_eq!(describe(&unnamed), "/srv/app");
        unnamed.offset = Some(FileOffset(0x1f));
        assert_eq!(describe(&unnamed), "/srv/app+0x1f");
        assert_eq!(describe(&Frame::default()), "an unknown place");
    }
}
