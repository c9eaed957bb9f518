//! Where tests with a name are: looked up in the sources, so that nothing is built in vain.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::workspace;

/// Directories without tests of the workspace.
const LEFT_OUT: [&str; 3] = ["target", "fuzz", "leaky"];

/// Where tests match a filter.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// Packages with such unit tests.
    pub units: BTreeSet<String>,
    pub on_kernel: bool,
}

impl Matching {
    /// By the names of functions and of their files: a test that a macro makes is not found.
    pub fn of(filter: &str) -> Result<Matching> {
        let mut found = Matching::default();
        found.look(workspace::root(), "", filter)?;
        Ok(found)
    }

    pub fn is_empty(&self) -> bool {
        self.units.is_empty() && !self.on_kernel
    }

    /// Looks into a directory of this package.
    fn look(&mut self, directory: &Path, package: &str, filter: &str) -> Result<()> {
        let own = package_of(directory);
        let package = own.as_deref().unwrap_or(package);
        let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let is_ours =
                !LEFT_OUT.iter().any(|left_out| name == *left_out) && !name.to_string_lossy().starts_with('.');
            if path.is_dir() && is_ours {
                self.look(&path, package, filter)?;
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
                let below = path.strip_prefix(workspace::root()).unwrap_or(&path).with_extension("");
                let below = below.to_string_lossy();
                if !matches(&below, &text, filter) {
                    continue;
                }
                if ["tests/on_kernel", "tests/deploy"].iter().any(|tests| below.starts_with(tests)) {
                    self.on_kernel = true;
                } else {
                    self.units.insert(package.to_owned());
                }
            }
        }
        Ok(())
    }
}

/// The name in a directory's manifest.
fn package_of(directory: &Path) -> Option<String> {
    let manifest = fs::read_to_string(directory.join("Cargo.toml")).ok()?;
    let (_, package) = manifest.split_once("[package]")?;
    let name = package.lines().find_map(|line| line.strip_prefix("name = "))?;
    Some(name.trim().trim_matches('"').to_owned())
}

/// Whether a file has a test whose whole name may contain the filter.
fn matches(file: &str, text: &str, filter: &str) -> bool {
    let modules = file.replace('/', "::");
    names(text).any(|name| {
        let inline = format!("{modules}::tests::{name}");
        format!("{modules}::{name}").contains(filter) || inline.contains(filter)
    })
}

/// Of the functions that follow `#[test]`.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split("#[test]").skip(1).filter_map(|rest| {
        let (_, rest) = rest.split_once("fn ")?;
        rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "fn helper() {}\n#[test]\n#[ignore]\nfn a_leak_is_found() {}\n";

    #[test]
    fn names_and_modules_match() {
        for filter in ["a_leak", "findings::a_leak_is", "findings::", "findings"] {
            assert!(matches("tests/on_kernel/findings", TEXT, filter), "{filter}");
        }
        for filter in ["helper", "leaks::a_leak", "a_leak_is_lost"] {
            assert!(!matches("tests/on_kernel/findings", TEXT, filter), "{filter}");
        }
    }

    #[test]
    fn tests_of_this_checkout_are_found_where_they_are() {
        let of = |filter| Matching::of(filter).expect("a checkout");
        let here = of("names_and_modules_match");
        assert_eq!((here.units, here.on_kernel), (["xtask".to_owned()].into(), false));
        let there = of("sigterm_ends_it");
        assert_eq!((there.units.len(), there.on_kernel), (0, true));
        assert!(of("no test is called so").is_empty());
    }
}
