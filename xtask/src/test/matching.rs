//! Where tests with a name are: looked up in the sources, so that nothing is built in vain.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::workspace;

/// Which tests match a filter.
#[derive(Debug, PartialEq, Eq)]
pub struct Matching {
    pub units: bool,
    pub on_kernel: bool,
}

impl Matching {
    /// By the names of functions and of their files; where none matches, any test may be meant (macros make some).
    pub fn of(filter: &str) -> Result<Matching> {
        let mut found = Matching { units: false, on_kernel: false };
        look(workspace::root(), workspace::root(), filter, &mut found)?;
        let none = !found.units && !found.on_kernel;
        Ok(if none { Matching { units: true, on_kernel: true } } else { found })
    }
}

fn look(root: &Path, directory: &Path, filter: &str, found: &mut Matching) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_ours = name != "target" && !name.to_string_lossy().starts_with('.');
        if path.is_dir() && is_ours {
            look(root, &path, filter, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let below = path.strip_prefix(root).unwrap_or(&path).with_extension("");
            let below = below.to_string_lossy();
            if matches(&below, &text, filter) {
                let on_kernel = ["tests/on_kernel", "tests/deploy"].iter().any(|tests| below.starts_with(tests));
                found.on_kernel |= on_kernel;
                found.units |= !on_kernel;
            }
        }
    }
    Ok(())
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
        assert_eq!(of("names_and_modules_match"), Matching { units: true, on_kernel: false });
        assert_eq!(of("sigterm_ends_it"), Matching { units: false, on_kernel: true });
        let any = Matching { units: true, on_kernel: true };
        assert_eq!(of("no test is called so"), any);
    }
}
