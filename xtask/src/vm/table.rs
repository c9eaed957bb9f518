//! Tests and kernels, as a table.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::guest::Outcome;

const BEGIN: &str = "<!-- written by `cargo xtask vm --write` -->";
const END: &str = "<!-- end -->";

/// Markdown: a row for each test, a column for each kernel.
pub fn text(outcomes: &[Outcome]) -> String {
    let names: BTreeSet<&str> =
        outcomes.iter().flat_map(|outcome| &outcome.tests).map(|(name, _)| name.as_str()).collect();
    let mut rows = vec![
        std::iter::once("test").chain(outcomes.iter().map(|outcome| outcome.kernel.as_str())).collect::<Vec<&str>>(),
        vec!["---"; outcomes.len() + 1],
    ];
    for name in names {
        let cell = |outcome: &Outcome| match outcome.tests.iter().find(|(other, _)| other == name) {
            Some((_, true)) => "ok",
            Some((_, false)) => "FAILED",
            None => "not run",
        };
        rows.push(std::iter::once(name).chain(outcomes.iter().map(cell)).collect());
    }
    let lines: Vec<String> = rows.into_iter().map(|cells| format!("| {} |\n", cells.join(" | "))).collect();
    let releases: Vec<&str> = outcomes.iter().map(|outcome| outcome.release.as_str()).collect();
    format!("{}\nReleases: {}.\n", lines.concat(), releases.join(", "))
}

/// Puts the table between its marks.
pub fn write(path: &Path, table: &str) -> Result<()> {
    let page = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (Some(begin), Some(end)) = (page.find(BEGIN), page.find(END)) else {
        bail!("{} has no place for the table", path.display());
    };
    let page = format!("{}{BEGIN}\n\n{table}\n{}", &page[..begin], &page[end..]);
    fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_has_a_row_and_every_kernel_a_column() {
        let outcome = |kernel: &str, tests: &[(&str, bool)]| Outcome {
            kernel: kernel.to_owned(),
            release: format!("{kernel}.9"),
            tests: tests.iter().map(|(name, passed)| ((*name).to_owned(), *passed)).collect(),
            ended: true,
            complaints: Vec::new(),
            seconds: 1.0,
        };
        let table = text(&[outcome("6.1", &[("a", true), ("b", false)]), outcome("7.2", &[("a", true)])]);
        let expected = "\
| test | 6.1 | 7.2 |
| --- | --- | --- |
| a | ok | ok |
| b | FAILED | not run |

Releases: 6.1.9, 7.2.9.
";
        assert_eq!(table, expected);
    }
}
