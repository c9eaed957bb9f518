//! Tests and kernels, as a table.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::guest::Outcome;
use super::kernels::numbers;

const BEGIN: &str = "<!-- written by `cargo xtask vm --write` -->";
const END: &str = "<!-- end -->";

const RELEASES: &str = "Releases: ";
const NOT_RUN: &str = "not run";

/// A row for each test, a column for each kernel.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tested(BTreeMap<Name, Column>);

/// Versions in their order, each before the same locked down.
type Name = (Vec<u64>, String);

#[derive(Debug, Default, PartialEq, Eq)]
struct Column {
    release: String,
    /// What each test came to.
    cells: BTreeMap<String, String>,
}

impl Tested {
    pub fn of(outcomes: &[Outcome]) -> Self {
        let cell = |(name, passed): &(String, bool)| (name.clone(), if *passed { "ok" } else { "FAILED" }.to_owned());
        let column = |outcome: &Outcome| {
            let cells = outcome.tests.iter().map(cell).collect();
            (name(&outcome.kernel), Column { release: outcome.release.clone(), cells })
        };
        // A guest that did not come so far says nothing.
        Self(outcomes.iter().filter(|outcome| !outcome.tests.is_empty()).map(column).collect())
    }

    /// Reads what [`Tested::text`] wrote; what is no table gives an empty one.
    fn parse(text: &str) -> Self {
        let mut rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")).map(|line| {
            let mut cells = line.split(" | ").map(str::to_owned);
            (cells.next().unwrap_or_default(), cells.collect::<Vec<_>>())
        });
        let Some((_, kernels)) = rows.next() else { return Self::default() };
        let releases = text.lines().find_map(|line| line.strip_prefix(RELEASES)?.strip_suffix('.'));
        let mut releases = releases.unwrap_or_default().split(", ");
        let mut columns: Vec<Column> = Vec::new();
        columns.resize_with(kernels.len(), Column::default);
        for column in &mut columns {
            releases.next().unwrap_or_default().clone_into(&mut column.release);
        }
        for (test, cells) in rows.skip(1) {
            for (column, cell) in columns.iter_mut().zip(cells).filter(|(_, cell)| cell != NOT_RUN) {
                column.cells.insert(test.clone(), cell);
            }
        }
        Self(kernels.iter().map(|kernel| name(kernel)).zip(columns).collect())
    }

    /// Takes over what a later run says of its kernels; of each all, if that run was `whole`.
    fn update(&mut self, later: Self, whole: bool) {
        for (name, column) in later.0 {
            let known = self.0.entry(name).or_default();
            if whole {
                known.cells.clear();
            }
            known.release = column.release;
            known.cells.extend(column.cells);
        }
    }

    /// As Markdown.
    pub fn text(&self) -> String {
        let tests: BTreeSet<&String> = self.0.values().flat_map(|column| column.cells.keys()).collect();
        let kernels = self.0.keys().map(|(_, kernel)| kernel.as_str());
        let mut lines = vec![line("test", kernels), line("---", self.0.keys().map(|_| "---"))];
        for test in tests {
            let cells = self.0.values().map(|column| column.cells.get(test).map_or(NOT_RUN, String::as_str));
            lines.push(line(test, cells));
        }
        let releases: Vec<&str> = self.0.values().map(|column| column.release.as_str()).collect();
        format!("{}\n{RELEASES}{}.\n", lines.concat(), releases.join(", "))
    }
}

fn line<'a>(first: &'a str, rest: impl Iterator<Item = &'a str>) -> String {
    format!("| {} |\n", std::iter::once(first).chain(rest).collect::<Vec<_>>().join(" | "))
}

pub fn name(kernel: &str) -> Name {
    (numbers(kernel), kernel.to_owned())
}

/// Puts what was tested into the table between its marks, in place of what that says of the same kernels.
pub fn write(path: &Path, tested: Tested, whole: bool) -> Result<()> {
    let page = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let page = updated(&page, tested, whole).with_context(|| format!("no table is in {}", path.display()))?;
    fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

fn updated(page: &str, tested: Tested, whole: bool) -> Result<String> {
    let (Some(begin), Some(end)) = (page.find(BEGIN), page.find(END)) else {
        bail!("there are no marks for one");
    };
    let mut table = Tested::parse(&page[begin..end]);
    table.update(tested, whole);
    Ok(format!("{}{BEGIN}\n\n{}\n{}", &page[..begin], table.text(), &page[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(kernel: &str, release: &str, tests: &[(&str, bool)]) -> Outcome {
        Outcome {
            kernel: kernel.to_owned(),
            release: release.to_owned(),
            tests: tests.iter().map(|(name, passed)| ((*name).to_owned(), *passed)).collect(),
            flaky: Vec::new(),
            ended: true,
            complaints: Vec::new(),
            seconds: 1.0,
        }
    }

    const TABLE: &str = "\
| test | 5.10 | 6.1 | 6.1 locked down |
| --- | --- | --- | --- |
| a | ok | ok | not run |
| b | not run | FAILED | not run |
| c | not run | not run | ok |

Releases: 5.10.9, 6.1.9, 6.1.9.
";

    fn table() -> Tested {
        let open = outcome("6.1", "6.1.9", &[("a", true), ("b", false)]);
        let locked = outcome("6.1 locked down", "6.1.9", &[("c", true)]);
        Tested::of(&[locked, open, outcome("5.10", "5.10.9", &[("a", true)])])
    }

    #[test]
    fn every_test_has_a_row_and_every_kernel_a_column() {
        assert_eq!(table().text(), TABLE);
        assert_eq!(Tested::parse(TABLE), table());
        assert_eq!(Tested::parse("\nno table\n"), Tested::default());
    }

    #[test]
    fn runs_of_single_kernels_and_tests_add_up() {
        let page = format!("before\n{BEGIN}\n{END}\nafter\n");
        let page = updated(&page, table(), true).unwrap();
        assert_eq!(page, format!("before\n{BEGIN}\n\n{TABLE}\n{END}\nafter\n"));
        let again = Tested::of(&[outcome("6.1", "6.1.10", &[("b", true)])]);
        let single = updated(&page, again, false).unwrap();
        assert!(single.contains("| a | ok | ok | not run |\n| b | not run | ok | not run |\n"), "{single}");
        assert!(single.contains("\nReleases: 5.10.9, 6.1.10, 6.1.9.\n"), "{single}");
        let whole = updated(&page, Tested::of(&[outcome("6.1", "6.1.10", &[("b", true)])]), true).unwrap();
        assert!(whole.contains("| a | ok | not run | not run |\n| b | not run | ok | not run |\n"), "{whole}");
        assert!(updated("no marks", table(), true).is_err());
    }
}
