//! The sources that the rules look at, parsed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use syn::{Attribute, Item};

/// Directories that hold no code of ours, by name.
const LEFT_OUT: [&str; 3] = ["target", ".git", "node_modules"];

/// One file.
pub struct Source {
    /// From the root of the checkout.
    pub path: String,
    pub syntax: syn::File,
}

impl Source {
    pub fn parse(path: &str, text: &str) -> Result<Source> {
        let syntax = syn::parse_file(text).with_context(|| format!("{path} is no Rust"))?;
        Ok(Source { path: path.to_owned(), syntax })
    }

    /// Its name, without the directory and the ending.
    pub fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        name.strip_suffix(".rs").unwrap_or(name)
    }

    /// By their names, files of tests: they may import what they test, wherever it is.
    pub fn is_test(&self) -> bool {
        let mut parts = self.path.split('/');
        parts.any(|part| part == "tests.rs" || part == "tests") || self.stem().ends_with("_tests")
    }
}

/// All files below the root of a checkout.
pub fn read(root: &Path) -> Result<Vec<Source>> {
    let mut paths = Vec::new();
    collect(root, &mut paths)?;
    paths.sort();
    if paths.is_empty() {
        bail!("no Rust below {}", root.display());
    }
    let source = |path: &PathBuf| {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Source::parse(&path.strip_prefix(root).unwrap_or(path).to_string_lossy(), &text)
    };
    paths.iter().map(source).collect()
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", directory.display()))?;
        let (path, kind) = (entry.path(), entry.file_type().context("a file without a type")?);
        let name = entry.file_name();
        if kind.is_dir() && !LEFT_OUT.iter().any(|left_out| name == *left_out) {
            collect(&path, paths)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
    Ok(())
}

/// `#[test]`, or `#[cfg(test)]` and its like.
pub fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let of = |name| attribute.path().is_ident(name);
        let names_test = || {
            let tokens = attribute.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default();
            let words: Vec<&str> = tokens.split(|c: char| !c.is_alphanumeric()).collect();
            words.contains(&"test") && !words.contains(&"not")
        };
        of("test") || (of("cfg") && names_test())
    })
}

/// Its attributes, where an item can have them.
pub fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
