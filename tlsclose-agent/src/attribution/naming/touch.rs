//! Calls as users know them.

use tlsclose_common::facts::call;
use tlsclose_core::model::{CodePath, Touch};

/// A call by its number, and the path that made it; None where the path is not known.
pub fn touch(which: u8, path: CodePath, result: Option<i64>) -> Option<Touch> {
    let CodePath { frames: stack, whole } = path;
    (!stack.is_empty()).then(|| Touch { call: call_name(which).to_owned(), result, seconds_ago: None, whole, stack })
}

fn call_name(which: u8) -> &'static str {
    match which {
        call::CONNECT => "connect",
        call::ACCEPT => "accept",
        call::ACCEPT4 => "accept4",
        call::READ => "read",
        call::SEND => "send",
        call::SHUTDOWN => "shutdown",
        call::CLOSE => "close",
        call::LISTEN => "listen",
        call::DUP => "dup2",
        _ => "",
    }
}
