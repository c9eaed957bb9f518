//! What is known to be out of order: a list that only gets shorter.

use anyhow::{Context, Result, bail};

use super::finding::Finding;

/// Of the file, from the root of the checkout.
pub const PATH: &str = "xtask/src/tidy/exceptions.txt";

/// One line: a date, a rule, a file and, where a file can break the rule more than once, what does.
#[derive(Debug, PartialEq, Eq)]
pub struct Exception {
    line: usize,
    date: String,
    rule: String,
    path: String,
    subject: String,
}

impl Exception {
    pub fn covers(&self, finding: &Finding) -> bool {
        self.rule == finding.rule && self.path == finding.path && self.subject == finding.subject
    }
}

/// Reads the list; a line that begins with '#' is a comment.
pub fn read(text: &str) -> Result<Vec<Exception>> {
    let mut exceptions = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut next = || words.next().with_context(|| format!("{PATH}:{}: no 'date rule path'", number + 1));
        let (date, rule, path) = (next()?, next()?, next()?);
        if date.len() != 10 || !date.chars().all(|c| c.is_ascii_digit() || c == '-') {
            bail!("{PATH}:{}: '{date}' is no date like 2026-12-01", number + 1);
        }
        let subject = words.collect::<Vec<_>>().join(" ");
        exceptions.push(Exception { line: number + 1, date, rule, path, subject });
    }
    Ok(exceptions)
}

/// What is left when those that are known are taken away; an exception for nothing is a finding, too.
pub fn apply(findings: Vec<Finding>, exceptions: &[Exception]) -> Vec<Finding> {
    let unused = exceptions.iter().filter(|exception| !findings.iter().any(|finding| exception.covers(finding)));
    let unused: Vec<Finding> = unused
        .map(|exception| {
            let what = format!("{} {} {}", exception.rule, exception.path, exception.subject);
            let todo = format!("'{}' no longer occurs: take this line away", what.trim());
            Finding::new(PATH, exception.line, "exception", "", todo)
        })
        .collect();
    let is_new = |finding: &Finding| !exceptions.iter().any(|exception| exception.covers(finding));
    findings.into_iter().filter(is_new).chain(unused).collect()
}

/// The list that covers these findings: what was known keeps its date.
pub fn write(findings: &[Finding], known: &[Exception], today: &str) -> String {
    let mut text = String::from(
        "# What is known to be out of order, with the day on which it was noticed: date, rule, file, and what in it.\n\
         # Only ever take lines away. 'cargo xtask tidy --accept' writes this list anew.\n",
    );
    for finding in findings {
        let date = known.iter().find(|exception| exception.covers(finding)).map_or(today, |known| &known.date);
        let line = format!("{date} {} {} {}", finding.rule, finding.path, finding.subject);
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(rule: &'static str, path: &str, subject: &str) -> Finding {
        Finding::new(path, 7, rule, subject, String::new())
    }

    #[test]
    fn what_is_known_is_let_through_and_nothing_else() {
        let known = read("# why\n\n2026-12-01 too-long a.rs f\n").expect("a list");
        let left = apply(vec![finding("too-long", "a.rs", "f"), finding("too-long", "a.rs", "g")], &known);
        assert_eq!(left, [finding("too-long", "a.rs", "g")]);
    }

    #[test]
    fn an_exception_for_nothing_is_a_finding() {
        let known = read("2026-12-01 too-long a.rs f").expect("a list");
        let left = apply(Vec::new(), &known);
        assert_eq!((left.len(), left[0].rule, left[0].line), (1, "exception", 1));
    }

    #[test]
    fn what_is_accepted_keeps_its_date() {
        let findings = [finding("circle", "a.rs", ""), finding("too-long", "a.rs", "f")];
        let known = read("2026-12-01 too-long a.rs f").expect("a list");
        let text = write(&findings, &known, "2027-01-01");
        assert!(text.ends_with("2027-01-01 circle a.rs\n2026-12-01 too-long a.rs f\n"), "{text}");
        assert!(apply(findings.into(), &read(&text).expect("a list")).is_empty());
    }

    #[test]
    fn a_line_without_a_date_is_an_error() {
        assert!(read("too-long a.rs f").is_err());
        assert!(read("2026-12-01 too-long").is_err());
    }
}
