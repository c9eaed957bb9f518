//! The modules of all crates, and to which file a path leads.

use std::collections::BTreeMap;
use std::slice;

use super::imports::{Named, Written};
use super::source::Source;

/// Crates whose files are looked at, by the names that code calls them, and where their files are.
pub const CRATES: [(&str, &str); 8] = [
    ("tlsclose_common", "tlsclose-common/src"),
    ("tlsclose_ebpf", "tlsclose-ebpf/src"),
    ("tlsclose_core", "tlsclose-agent/core/src"),
    ("tlsclose_btf", "tlsclose-agent/btf/src"),
    ("tlsclose_symbols", "tlsclose-agent/symbols/src"),
    ("tlsclose_agent", "tlsclose-agent/src"),
    ("tlsclose_tests", "tests/src"),
    ("xtask", "xtask/src"),
];

/// Names lead on to others at most so often: enough for every chain of re-exports.
const STEPS: usize = 16;

/// A file, as a module of its crate.
pub struct Module<'a> {
    pub source: &'a Source,
    pub named: Named,
    /// Of the crate, and of the modules that it lies in: `["tlsclose_agent", "kernel", "load"]`.
    address: Vec<String>,
}

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// Something in this file; `whole` says that it is the module and nothing in it.
    File { number: usize, whole: bool },
    /// Another crate, by the whole path.
    Outside(Vec<String>),
}

pub struct Modules<'a> {
    pub all: Vec<Module<'a>>,
    by_address: BTreeMap<Vec<String>, usize>,
}

impl<'a> Modules<'a> {
    /// Of the files that belong to one of our crates and hold no tests.
    pub fn of(sources: &'a [Source]) -> Modules<'a> {
        let modules = sources.iter().filter(|source| !source.is_test() || source.path.starts_with("tests/src/"));
        let modules = modules
            .filter_map(|source| Some(Module { source, named: Named::of(source), address: address(&source.path)? }));
        let mut all: Vec<Module> = modules.collect();
        let for_tests = all.iter().flat_map(|module| {
            module.named.for_tests.iter().map(|name| [&module.address[..], slice::from_ref(name)].concat())
        });
        let for_tests: Vec<Vec<String>> = for_tests.collect();
        all.retain(|module| !for_tests.iter().any(|address| module.address.starts_with(address)));
        let mut by_address = BTreeMap::new();
        for (number, module) in all.iter().enumerate() {
            // Beside a library, a program of the same crate is a crate of its own.
            let is_program = module.source.path.ends_with("/main.rs");
            if !is_program || !by_address.contains_key(&module.address) {
                by_address.entry(module.address.clone()).or_insert(number);
            }
        }
        Modules { all, by_address }
    }

    /// The other files that a file needs, each with the line that names it first.
    pub fn needs(&self, number: usize) -> BTreeMap<usize, usize> {
        let mut needs = BTreeMap::new();
        for path in self.paths(number) {
            if let Some(Target::File { number: target, whole: false }) = self.target(number, path, STEPS)
                && target != number
            {
                let line = needs.entry(target).or_insert(path.line);
                *line = path.line.min(*line);
            }
        }
        needs
    }

    /// What a file uses of other crates, with lines.
    pub fn outside(&self, number: usize) -> Vec<(Vec<String>, usize)> {
        let targets = self.paths(number).map(|path| (self.target(number, path, STEPS), path.line));
        let outside = targets.filter_map(|(target, line)| match target {
            Some(Target::Outside(words)) => Some((words, line)),
            _ => None,
        });
        outside.collect()
    }

    fn paths(&self, number: usize) -> impl Iterator<Item = &Written> {
        let named = &self.all[number].named;
        named.imports.iter().map(|import| &import.path).chain(&named.paths)
    }

    fn target(&self, from: usize, path: &Written, steps: usize) -> Option<Target> {
        let steps = steps.checked_sub(1)?;
        let home = &self.all[from].address;
        let (first, rest) = path.words.split_first()?;
        let (mut at, mut rest) = match first.as_str() {
            "crate" => (home[..1].to_vec(), rest),
            "self" => (home.clone(), rest),
            "super" => {
                let ups = path.words.iter().take_while(|word| *word == "super").count();
                // A module within the file is one step away from the file.
                let kept = home.len().checked_sub(ups.saturating_sub(path.depth))?;
                (home[..kept.max(1)].to_vec(), &path.words[ups..])
            }
            crate_name if CRATES.iter().any(|(name, _)| *name == crate_name) => (vec![first.clone()], rest),
            _ => return self.relative(from, path, steps),
        };
        while let Some((word, further)) = rest.split_first() {
            let below = [&at[..], slice::from_ref(word)].concat();
            if !self.by_address.contains_key(&below) {
                return self.within(*self.by_address.get(&at)?, word, further, path, steps);
            }
            (at, rest) = (below, further);
        }
        Some(Target::File { number: *self.by_address.get(&at)?, whole: true })
    }

    /// A path that begins with a name: of a module below, of something imported, or of another crate.
    fn relative(&self, from: usize, path: &Written, steps: usize) -> Option<Target> {
        let (first, further) = path.words.split_first()?;
        let mut below = self.all[from].address.clone();
        below.push(first.clone());
        let named = &self.all[from].named;
        let is_known = self.by_address.contains_key(&below)
            || named.items.contains(first)
            || named.inline.contains(first)
            || named.imports.iter().any(|import| import.name == *first && import.path != *path);
        if is_known {
            if self.by_address.contains_key(&below) {
                let words = ["self".to_owned()].into_iter().chain(path.words.iter().cloned()).collect();
                return self.target(from, &Written { words, ..path.clone() }, steps);
            }
            return self.within(from, first, further, path, steps);
        }
        (path.words.len() > 1).then(|| Target::Outside(path.words.clone()))
    }

    /// A name that a file gives: its own, or one that it has from elsewhere.
    fn within(&self, number: usize, word: &str, further: &[String], path: &Written, steps: usize) -> Option<Target> {
        let named = &self.all[number].named;
        if named.borrowed.iter().any(|module| module == word) {
            return None;
        }
        let here = Some(Target::File { number, whole: false });
        if word == "*" || named.items.iter().any(|item| item == word) {
            return here;
        }
        if named.inline.iter().any(|module| module == word) {
            let Some((word, further)) = further.split_first() else { return here };
            return self.within(number, word, further, path, steps.checked_sub(1)?);
        }
        let follow = |import: &Written, more: &[String]| {
            let words = import.words.iter().chain(more).cloned().collect();
            self.target(number, &Written { words, line: path.line, depth: import.depth }, steps)
        };
        let explicit = named.imports.iter().find(|import| import.name == word && import.path != *path);
        if let Some(import) = explicit {
            return follow(&import.path, further);
        }
        let globs = named.imports.iter().filter(|import| import.name == "*");
        for glob in globs {
            let module = &glob.path.words[..glob.path.words.len() - 1];
            let module = Written { words: module.to_vec(), ..glob.path.clone() };
            if let Some(Target::File { number: other, whole: true }) = self.target(number, &module, steps)
                && other != number
                && self.all[other].named.gives(word)
            {
                return self.within(other, word, further, path, steps.checked_sub(1)?);
            }
        }
        here
    }
}

impl Named {
    fn gives(&self, name: &str) -> bool {
        self.items.iter().any(|item| item == name) || self.imports.iter().any(|import| import.name == name)
    }
}

/// `tlsclose-agent/src/kernel/load.rs` is `tlsclose_agent::kernel::load`.
fn address(path: &str) -> Option<Vec<String>> {
    let (name, rest) = CRATES.iter().find_map(|(name, directory)| {
        Some((*name, path.strip_prefix(directory)?.strip_prefix('/')?.strip_suffix(".rs")?))
    })?;
    let mut parts: Vec<String> = rest.split('/').map(str::to_owned).collect();
    let last = parts.last().map(String::as_str);
    if last == Some("mod") || (parts.len() == 1 && matches!(last, Some("lib" | "main"))) {
        parts.pop();
    }
    Some([name.to_owned()].into_iter().chain(parts).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(files: &[(&str, &str)]) -> Vec<(usize, usize)> {
        let sources: Vec<Source> =
            files.iter().map(|(path, text)| Source::parse(path, text).expect("no Rust")).collect();
        let modules = Modules::of(&sources);
        let edges = (0..modules.all.len()).flat_map(|from| modules.needs(from).into_keys().map(move |to| (from, to)));
        edges.collect()
    }

    #[test]
    fn an_import_leads_to_the_file_that_declares_it() {
        let files = [
            ("xtask/src/main.rs", "mod a; mod b; fn main() { a::go(); }"),
            ("xtask/src/a.rs", "mod deep; pub use self::deep::{Thing, go};"),
            ("xtask/src/a/deep.rs", "pub struct Thing; pub fn go() {}"),
            ("xtask/src/b.rs", "use super::a::Thing; fn f(_: Thing) {}"),
        ];
        assert_eq!(needs(&files), [(0, 2), (1, 2), (3, 2)]);
    }

    #[test]
    fn paths_in_code_and_in_macros_count() {
        let files = [
            ("xtask/src/main.rs", "mod a; mod b; mod c;"),
            ("xtask/src/a.rs", "pub const A: u8 = 1;"),
            ("xtask/src/b.rs", "fn f() -> u8 { crate::a::A }"),
            ("xtask/src/c.rs", "fn f() { println!(\"{}\", (1, super::a::A)) }"),
        ];
        assert_eq!(needs(&files), [(2, 1), (3, 1)]);
    }

    #[test]
    fn modules_within_a_file_and_other_crates_are_followed() {
        let files = [
            ("tlsclose-common/src/lib.rs", "pub mod facts;"),
            ("tlsclose-common/src/facts.rs", "pub struct Fact;"),
            ("tlsclose-agent/src/lib.rs", "mod a; mod old { pub use tlsclose_common::facts::Fact; }"),
            (
                "tlsclose-agent/src/a.rs",
                "use crate::old::Fact; mod inner { use super::super::a; type T = a::Own; } struct Own;",
            ),
            ("tlsclose-agent/src/main.rs", "fn main() { tlsclose_agent::a::run() }"),
        ];
        assert_eq!(needs(&files), [(2, 1), (3, 1), (4, 3)]);
    }

    #[test]
    fn a_file_of_another_crate_leads_nowhere() {
        let files = [
            ("xtask/src/main.rs", "mod a; #[path = \"../../other.rs\"] mod other; fn main() { a::a() }"),
            ("xtask/src/a.rs", "use crate::other::Other; pub fn a() {}"),
        ];
        assert_eq!(needs(&files), [(0, 1)]);
    }

    #[test]
    fn tests_may_import_what_they_test() {
        let files = [
            ("xtask/src/main.rs", "mod a;"),
            ("xtask/src/a.rs", "pub fn go() {} #[cfg(test)] mod tests { use crate::b::B; }"),
            ("xtask/src/b.rs", "pub struct B;"),
            ("xtask/src/b/tests.rs", "use crate::a::go;"),
        ];
        assert_eq!(needs(&files), []);
    }

    #[test]
    fn what_is_outside_is_known_by_its_whole_path() {
        let text = "use std::time::{self, Instant as Now}; fn f() { Now::now(); time::Duration::ZERO; String::new(); }";
        let sources = [Source::parse("xtask/src/main.rs", text).expect("no Rust")];
        let modules = Modules::of(&sources);
        let outside: Vec<String> = modules.outside(0).into_iter().map(|(words, _)| words.join("::")).collect();
        for wanted in ["std::time::Instant", "std::time::Instant::now", "std::time::Duration::ZERO"] {
            assert!(outside.iter().any(|path| path == wanted), "{wanted}: {outside:?}");
        }
    }
}
