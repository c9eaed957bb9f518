//! No file needs one that needs it, by whatever way round.

use std::collections::{BTreeMap, VecDeque};

use super::finding::Finding;
use super::modules::Modules;

pub fn check(modules: &Modules) -> Vec<Finding> {
    let needs: Vec<BTreeMap<usize, usize>> = (0..modules.all.len()).map(|number| modules.needs(number)).collect();
    let path = |number: usize| &modules.all[number].source.path;
    let finding = |number: usize| {
        let circle = shortest(&needs, number)?;
        let names: Vec<&str> = circle.iter().map(|number| path(*number).rsplit("src/").next().unwrap_or("")).collect();
        let todo = format!("{} is a circle: move what they share into a file below them", names.join(" → "));
        Some(Finding::new(path(number), needs[number][&circle[1]], "circle", "", todo))
    };
    (0..modules.all.len()).filter_map(finding).collect()
}

/// The shortest way from a file back to itself, both ends included.
fn shortest(needs: &[BTreeMap<usize, usize>], start: usize) -> Option<Vec<usize>> {
    let mut from: BTreeMap<usize, usize> = BTreeMap::new();
    let mut waiting = VecDeque::from([start]);
    while let Some(at) = waiting.pop_front() {
        for next in needs[at].keys() {
            if *next == start {
                let back = std::iter::successors(Some(at), |at| from.get(at).copied());
                let mut way: Vec<usize> = [start].into_iter().chain(back).collect();
                way.reverse();
                return Some(way);
            }
            if !from.contains_key(next) {
                from.insert(*next, at);
                waiting.push_back(*next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::Source;

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> =
            files.iter().map(|(path, text)| Source::parse(path, text).expect("no Rust")).collect();
        check(&Modules::of(&sources)).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn a_circle_is_found_in_each_of_its_files() {
        let files = [
            ("xtask/src/main.rs", "mod a; mod b; mod c; fn main() { a::a() }"),
            ("xtask/src/a.rs", "pub fn a() { crate::b::b() }"),
            ("xtask/src/b.rs", "use crate::c;\n\npub fn b() { c::c() }"),
            ("xtask/src/c.rs", "use super::a::a; pub fn c() { a() }"),
        ];
        let found = circles(&files);
        assert_eq!(found.len(), 3);
        assert!(found[1].starts_with("xtask/src/b.rs:3: circle: b.rs → c.rs → a.rs → b.rs"), "{}", found[1]);
    }

    #[test]
    fn a_child_that_needs_its_parent_is_one() {
        let files = [
            ("xtask/src/main.rs", "mod a;"),
            ("xtask/src/a.rs", "mod deep; use deep::deep; pub struct A;"),
            ("xtask/src/a/deep.rs", "use super::A; pub fn deep() -> A { A }"),
        ];
        assert_eq!(circles(&files).len(), 2);
    }

    #[test]
    fn a_tree_is_none() {
        let files = [
            ("xtask/src/main.rs", "mod a; mod b;"),
            ("xtask/src/a.rs", "mod one; mod two; pub use one::One; use two::two;"),
            ("xtask/src/a/one.rs", "pub struct One;"),
            ("xtask/src/a/two.rs", "use super::One; pub fn two() -> One { One }"),
            ("xtask/src/b.rs", "use crate::a::One;"),
        ];
        assert_eq!(circles(&files), Vec::<String>::new());
    }
}
