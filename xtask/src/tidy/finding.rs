//! Something out of order, in one line: where, which rule, and what to do.

use std::fmt;

/// Something out of order.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub path: String,
    pub line: usize,
    pub rule: &'static str,
    /// What in the file breaks the rule, where there can be several.
    pub subject: String,
    todo: String,
}

impl Finding {
    pub fn new(path: &str, line: usize, rule: &'static str, subject: &str, todo: String) -> Finding {
        Finding { path: path.to_owned(), line, rule, subject: subject.to_owned(), todo }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}: {}", self.path, self.line, self.rule, self.todo)
    }
}
