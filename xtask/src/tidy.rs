//! `cargo xtask tidy`: the rules of the house that no compiler knows.

mod circles;
mod documented;
mod exceptions;
mod finding;
mod functions;
mod imports;
mod modules;
mod names;
mod purity;
mod rooms;
mod source;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use self::finding::Finding;
use self::modules::Modules;
use self::source::Source;
use crate::run;
use crate::workspace;

/// Check the rules of the house; takes a second.
///
/// Rooms are in order and no file needs one that needs it (circle, upward); functions have 60 lines
/// or fewer (too-long); a name has one meaning (two-types, two-files); a question changes nothing
/// (question); the core is pure (impure); boundary crates are documented (documented); there is no
/// mod.rs. What is known to be out of order stands in xtask/src/tidy/exceptions.txt.
#[derive(clap::Args)]
pub struct Options {
    /// Write the list of exceptions anew, from all that is found now
    #[arg(long)]
    accept: bool,
}

pub fn run(options: &Options) -> Result<()> {
    let root = workspace::root();
    if options.accept {
        return accept(root);
    }
    let findings = check(root)?;
    findings.iter().for_each(|finding| println!("{finding}"));
    if !findings.is_empty() {
        bail!("{} things are out of order", findings.len());
    }
    println!("all in order");
    Ok(())
}

/// All that is out of order in a checkout and not known.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    Ok(exceptions::apply(all(&source::read(root)?), &known(root)?))
}

fn accept(root: &Path) -> Result<()> {
    let today = run::output(Command::new("date").arg("+%Y-%m-%d"))?;
    let findings = all(&source::read(root)?);
    let list = exceptions::write(&findings, &known(root)?, today.trim());
    fs::write(root.join(exceptions::PATH), list).context("cannot write the exceptions")?;
    println!("{} exceptions are in {}", findings.len(), exceptions::PATH);
    Ok(())
}

fn known(root: &Path) -> Result<Vec<exceptions::Exception>> {
    let path = root.join(exceptions::PATH);
    exceptions::read(&fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?)
}

/// All that is out of order, known or not, each thing once.
fn all(sources: &[Source]) -> Vec<Finding> {
    let modules = Modules::of(sources);
    let mut findings: Vec<Finding> = [
        rooms::check(&modules),
        circles::check(&modules),
        functions::check(sources),
        names::check(sources),
        purity::check(&modules),
        documented::check(sources),
        module_files(sources),
    ]
    .into_iter()
    .flatten()
    .collect();
    findings.sort_by(|one, other| (one.rule, &one.path, &one.subject).cmp(&(other.rule, &other.path, &other.subject)));
    findings.dedup_by(|next, kept| (next.rule, &next.path, &next.subject) == (kept.rule, &kept.path, &kept.subject));
    findings
}

/// A module with parts is `foo.rs` beside `foo/`.
fn module_files(sources: &[Source]) -> Vec<Finding> {
    let finding = |source: &Source| {
        let directory = source.path.strip_suffix("/mod.rs").unwrap_or(&source.path);
        let todo = format!("move it to {directory}.rs, as everywhere else");
        Finding::new(&source.path, 1, "mod.rs", "", todo)
    };
    sources.iter().filter(|source| source.stem() == "mod").map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_file_is_found() {
        let source = |path| Source::parse(path, "").expect("no Rust");
        let found = module_files(&[source("a/mod.rs"), source("a/model.rs")]);
        assert_eq!(found.iter().map(|finding| finding.path.as_str()).collect::<Vec<_>>(), ["a/mod.rs"]);
        assert_eq!(found[0].to_string(), "a/mod.rs:1: mod.rs: move it to a.rs, as everywhere else");
    }

    #[test]
    fn this_checkout_is_looked_at() {
        let sources = source::read(workspace::root()).expect("a checkout");
        let modules = Modules::of(&sources);
        assert!(sources.len() > 400 && modules.all.len() > 200, "{} {}", sources.len(), modules.all.len());
        let needs: usize = (0..modules.all.len()).map(|number| modules.needs(number).len()).sum();
        assert!(needs > modules.all.len(), "{needs} arrows between {} files", modules.all.len());
    }
}
