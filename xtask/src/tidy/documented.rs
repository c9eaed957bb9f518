//! Every public item of a boundary crate is documented: the compiler sees to it, once it is told to.

use syn::{AttrStyle, File};

use super::finding::Finding;
use super::source::Source;

/// Crates whose words others use.
const BOUNDARY: [&str; 3] =
    ["tlsclose-common/src/lib.rs", "tlsclose-agent/core/src/lib.rs", "tlsclose-agent/symbols/src/lib.rs"];

pub fn check(sources: &[Source]) -> Vec<Finding> {
    let unchecked = |root: &&str| {
        let source = sources.iter().find(|source| source.path == **root);
        !source.is_some_and(|source| asks_for_documentation(&source.syntax))
    };
    let finding = |root: &str| {
        let todo = "add '#![warn(missing_docs)]': others use what is public here".to_owned();
        Finding::new(root, 1, "documented", "", todo)
    };
    BOUNDARY.into_iter().filter(unchecked).map(finding).collect()
}

/// The lints of the tests make a warning an error.
fn asks_for_documentation(root: &File) -> bool {
    root.attrs.iter().any(|attribute| {
        let is_lint = ["warn", "deny", "forbid"].iter().any(|level| attribute.path().is_ident(level));
        let names = || attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string().contains("missing_docs"));
        matches!(attribute.style, AttrStyle::Inner(_)) && is_lint && names()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_crate_asks_the_compiler() {
        let text = |first: &str| {
            let other = BOUNDARY[1..].iter().map(|root| (*root, "#![deny(unsafe_code, missing_docs)]"));
            let all = [(BOUNDARY[0], first)].into_iter().chain(other);
            let sources: Vec<Source> = all.map(|(path, text)| Source::parse(path, text).expect("no Rust")).collect();
            check(&sources).len()
        };
        assert_eq!(text("#![warn(missing_docs)]"), 0);
        assert_eq!(text("#![allow(missing_docs)]"), 1);
        assert_eq!(text("#[warn(missing_docs)] mod only_one;"), 1);
        assert_eq!(check(&[]).len(), BOUNDARY.len());
    }
}
