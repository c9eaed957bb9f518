//! Results as text: on the terminal, and in docs/benchmarks.md.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result};

use crate::run;

const HEAD: &str = "# Benchmarks

What tlsclose costs, measured by itself: `cargo xtask bench` repeats all of it, as root on a quiet
machine, and `cargo xtask bench --write` writes this page. *Must* is promised; *aim* is wanted.
";

/// What a value has to be, and what it should be.
#[derive(Clone, Copy)]
pub struct Goal {
    must: f64,
    aim: f64,
    larger_is_better: bool,
}

impl Goal {
    pub fn at_least(must: f64, aim: f64) -> Option<Goal> {
        Some(Goal { must, aim, larger_is_better: true })
    }

    pub fn at_most(must: f64, aim: f64) -> Option<Goal> {
        Some(Goal { must, aim, larger_is_better: false })
    }

    fn words(self, limit: f64) -> String {
        format!("{} {limit}", if self.larger_is_better { "≥" } else { "≤" })
    }

    fn holds(self, value: f64) -> bool {
        if self.larger_is_better { value >= self.must } else { value <= self.must }
    }
}

/// One measurement: its goals, and the tables behind them.
pub struct Section {
    title: String,
    how: String,
    goals: Table,
    tables: Vec<Table>,
}

impl Section {
    pub fn new(title: &str, how: &str) -> Section {
        Section {
            title: title.to_owned(),
            how: how.to_owned(),
            goals: Table::new(&["", "must", "aim", "measured"]),
            tables: Vec::new(),
        }
    }

    pub fn row(&mut self, what: &str, value: f64, goal: Option<Goal>) {
        let (must, aim) = match goal {
            Some(goal) => (goal.words(goal.must), goal.words(goal.aim)),
            None => ("–".to_owned(), "–".to_owned()),
        };
        let missed = goal.is_some_and(|goal| !goal.holds(value));
        let measured = format!("**{}**{}", rounded(value), if missed { " (misses)" } else { "" });
        self.goals.row(&[what.to_owned(), must, aim, measured]);
    }

    pub fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// The section as Markdown, which is readable as it is.
    pub fn text(&self) -> String {
        let mut text = format!("## {}\n\n{}\n", self.title, self.how);
        for table in std::iter::once(&self.goals).chain(&self.tables) {
            text.push('\n');
            text.push_str(&table.text());
        }
        text
    }
}

pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&str]) -> Table {
        Table { rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    pub fn row(&mut self, cells: &[String]) {
        self.rows.push(cells.to_vec());
    }

    fn text(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(text, "| {cell:<width$} ");
            }
            text.push_str("|\n");
            if number == 0 {
                for width in &widths {
                    let _ = write!(text, "| {:-<width$} ", "", width = (*width).max(3));
                }
                text.push_str("|\n");
            }
        }
        text
    }
}

/// Puts sections into the page, in place of those with the same titles.
pub fn write(path: &Path, sections: &[Section], stolen: f64) -> Result<()> {
    let old = fs::read_to_string(path).unwrap_or_default();
    let mut all: Vec<String> = old.split("\n## ").skip(1).map(|one| format!("## {one}")).collect();
    let when = machine(stolen)?;
    for section in sections {
        let text = format!("{}\n{when}\n", section.text());
        let heading = format!("## {}\n", section.title);
        match all.iter_mut().find(|one| one.starts_with(&heading)) {
            Some(place) => *place = text,
            None => all.push(text),
        }
    }
    let mut page = HEAD.to_owned();
    for section in all {
        let _ = write!(page, "\n{}\n", section.trim_end());
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    }
    fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

/// When and where this was measured, and how much of the processors' time others took of it, in percent.
fn machine(stolen: f64) -> Result<String> {
    let date = run::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy();
    let kernel = release.split('-').next().unwrap_or(&release); // without the distributor's name
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unnamed CPU", |(_, model)| model);
    let date = date.trim();
    Ok(format!(
        "*Measured on {date}, kernel {kernel}, {cores} cores of {model}, {stolen:.1} % of their time taken by other machines.*"
    ))
}

/// Three digits that mean something.
fn rounded(value: f64) -> String {
    let value = value + 0.0; // a sum of nothing is -0
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(title: &str, value: f64) -> Section {
        let mut section = Section::new(title, "How.");
        section.row("ratio", value, Goal::at_least(0.9, 0.97));
        section
    }

    #[test]
    fn a_second_writing_replaces_only_the_sections_that_were_measured() -> Result<()> {
        let path = std::env::temp_dir().join(format!("benchmarks-{}.md", std::process::id()));
        write(&path, &[section("One", 0.95), section("Two", 0.5)], 0.0)?;
        write(&path, &[section("One", 0.99)], 0.0)?;
        let page = fs::read_to_string(&path)?;
        fs::remove_file(&path)?;
        assert!(page.starts_with(HEAD));
        assert_eq!(page.matches("\n## ").count(), 2);
        assert!(page.contains("**0.990** |") && !page.contains("0.950"));
        assert!(page.contains("**0.500** (misses)"));
        Ok(())
    }
}
