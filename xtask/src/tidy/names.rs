//! One meaning for each name: of a public type within its crate, and of a file within the agent.

use std::collections::BTreeMap;

use syn::{Ident, Item, Visibility};

use super::finding::Finding;
use super::modules::CRATES;
use super::source::{self, Source};

/// Where the name of a file says what is in it, whatever the room.
const ONE_HOUSE: &str = "tlsclose-agent/";

/// File names that stand more than once, and why they may.
const SHARED: [(&[&str], &str); 3] = [
    (&["lib"], "cargo's name for a library"),
    (
        &[
            "aborts",
            "census",
            "clock",
            "closes",
            "half_open",
            "host",
            "jit",
            "neighbours",
            "process",
            "sites",
            "spinning",
            "spins",
            "stacks",
            "tls",
            "tls_outcome",
        ],
        "one feature or idea, the same in each layer",
    ),
    (
        &["agent", "doctor", "explain", "leaks", "states", "top"],
        "one command: its arguments, what it does and what it shows",
    ),
];

/// Types that stand more than once in a crate, and why they may.
const SHARED_TYPES: [(&str, &str, &str); 1] =
    [("xtask", "Options", "the arguments of a command, which clap and `cargo xtask` name alike in each")];

pub fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = types(sources);
    findings.extend(files(sources));
    findings
}

fn types(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (crate_name, directory) in CRATES {
        let mut known: BTreeMap<String, &str> = BTreeMap::new();
        let own = |source: &&Source| source.path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
        for source in sources.iter().filter(own).filter(|source| !source.is_test()) {
            for ident in public_types(&source.syntax.items) {
                let (name, line) = (ident.to_string(), ident.span().start().line);
                if SHARED_TYPES.iter().any(|(of, shared, _)| *of == crate_name && *shared == name) {
                    continue;
                }
                match known.get(&name) {
                    None => {
                        known.insert(name, &source.path);
                    }
                    Some(first) => {
                        let todo = format!("'{name}' is a type in {first} too: in {crate_name} a name has one meaning");
                        findings.push(Finding::new(&source.path, line, "two-types", &name, todo));
                    }
                }
            }
        }
    }
    findings
}

/// Of types that other files can see, in modules within the file too.
fn public_types(items: &[Item]) -> Vec<&Ident> {
    let mut types = Vec::new();
    for item in items.iter().filter(|item| !source::is_for_tests(source::attributes(item))) {
        let (visibility, ident) = match item {
            Item::Struct(item) => (&item.vis, &item.ident),
            Item::Enum(item) => (&item.vis, &item.ident),
            Item::Union(item) => (&item.vis, &item.ident),
            Item::Trait(item) => (&item.vis, &item.ident),
            Item::Type(item) => (&item.vis, &item.ident),
            Item::Mod(module) => {
                let (_, inner) = module.content.as_ref().map(|(brace, items)| (brace, items.as_slice())).unzip();
                types.extend(public_types(inner.unwrap_or_default()));
                continue;
            }
            _ => continue,
        };
        if !matches!(visibility, Visibility::Inherited) {
            types.push(ident);
        }
    }
    types
}

fn files(sources: &[Source]) -> Vec<Finding> {
    let mut known: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let is_in = |source: &&Source| source.path.starts_with(ONE_HOUSE) && !source.is_test();
    for source in sources.iter().filter(is_in) {
        known.entry(source.stem()).or_default().push(&source.path);
    }
    let is_shared = |stem: &str| SHARED.iter().any(|(shared, _)| shared.contains(&stem));
    let mut findings = Vec::new();
    for (stem, paths) in known.iter().filter(|(stem, _)| !is_shared(stem) && **stem != "mod") {
        for path in &paths[1..] {
            let todo = format!("{} has the same name: '{stem}' has one meaning, so rename one of them", paths[0]);
            findings.push(Finding::new(path, 1, "two-files", "", todo));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<(&'static str, String)> {
        let sources: Vec<Source> =
            files.iter().map(|(path, text)| Source::parse(path, text).expect("no Rust")).collect();
        check(&sources).into_iter().map(|finding| (finding.rule, finding.path)).collect()
    }

    #[test]
    fn a_public_type_has_one_meaning_in_its_crate() {
        let one = ("tlsclose-agent/src/a.rs", "pub struct Place;");
        let two = ("tlsclose-agent/src/b.rs", "mod inner { pub(crate) enum Place {} }");
        assert_eq!(found(&[one, two]), [("two-types", two.0.to_owned())]);
        let private = ("tlsclose-agent/src/b.rs", "struct Place; #[cfg(test)] pub struct Place;");
        let elsewhere = ("tlsclose-ebpf/src/b.rs", "pub struct Place;");
        assert_eq!(found(&[one, private, elsewhere]), []);
    }

    #[test]
    fn every_shared_name_is_still_shared() {
        let sources = source::read(crate::workspace::root()).expect("a checkout");
        let stems: Vec<&str> =
            sources.iter().filter(|source| source.path.starts_with(ONE_HOUSE)).map(Source::stem).collect();
        let stands = |stem: &str| stems.iter().filter(|other| **other == stem).count();
        for (names, why) in SHARED {
            let alone: Vec<&&str> = names.iter().filter(|name| stands(name) < 2).collect();
            assert!(alone.is_empty(), "{alone:?} stand once: they need no leave ({why})");
        }
    }

    #[test]
    fn a_file_name_has_one_meaning_in_the_agent() {
        let memory = [("tlsclose-agent/src/host/memory.rs", ""), ("tlsclose-agent/src/kernel/memory.rs", "")];
        assert_eq!(found(&memory), [("two-files", memory[1].0.to_owned())]);
        let layers = [("tlsclose-agent/src/why/tls.rs", ""), ("tlsclose-agent/src/report/tls.rs", "")];
        let crates = [("tlsclose-agent/src/maps.rs", ""), ("tlsclose-ebpf/src/maps.rs", "")];
        assert_eq!(found(&[layers, crates].concat()), []);
    }
}
