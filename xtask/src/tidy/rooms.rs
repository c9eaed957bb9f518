//! The rooms of the house, lowest first: none imports from one above it, or from one beside it.

use super::finding::Finding;
use super::modules::Modules;

/// Rooms on one level do not know each other.
const LEVELS: &[&[Room]] = &[
    &[Room { name: "common", paths: &["tlsclose-common/src/"] }],
    &[
        Room { name: "ebpf", paths: &["tlsclose-ebpf/src/"] },
        Room { name: "btf", paths: &["tlsclose-agent/btf/src/"] },
        Room { name: "core::model", paths: &["tlsclose-agent/core/src/model"] },
    ],
    &[
        Room { name: "core::leaks", paths: &["tlsclose-agent/core/src/leaks"] },
        Room { name: "core::closes", paths: &["tlsclose-agent/core/src/closes"] },
    ],
    &[Room { name: "core", paths: &["tlsclose-agent/core/src/lib.rs"] }],
    &[
        Room { name: "symbols", paths: &["tlsclose-agent/symbols/src/"] },
        Room { name: "host", paths: &["tlsclose-agent/src/host"] },
        Room { name: "config", paths: &["tlsclose-agent/src/config"] },
    ],
    &[Room { name: "api", paths: &["tlsclose-agent/src/api"] }],
    &[Room { name: "kernel", paths: &["tlsclose-agent/src/kernel"] }],
    &[Room { name: "why", paths: &["tlsclose-agent/src/why"] }],
    &[Room { name: "attribution", paths: &["tlsclose-agent/src/attribution"] }],
    &[Room { name: "watch", paths: &["tlsclose-agent/src/watch"] }],
    &[Room { name: "report", paths: &["tlsclose-agent/src/report"] }],
    &[Room { name: "output", paths: &["tlsclose-agent/src/output"] }],
    &[Room { name: "cli", paths: &["tlsclose-agent/src/cli", "tlsclose-agent/src/explain.rs"] }],
    &[Room { name: "commands", paths: &["tlsclose-agent/src/commands", "tlsclose-agent/src/logging.rs"] }],
    &[Room { name: "the agent", paths: &["tlsclose-agent/src/lib.rs", "tlsclose-agent/src/main.rs"] }],
];

/// Crates that everything may be imported into: nobody imports from them.
const ABOVE_ALL: [&str; 2] = ["tests/src/", "xtask/src/"];

struct Room {
    name: &'static str,
    /// What the paths of its files begin with. The longest one that fits decides.
    paths: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    level: usize,
    name: &'static str,
}

pub fn check(modules: &Modules) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, module) in modules.all.iter().enumerate() {
        let path = &module.source.path;
        if ABOVE_ALL.iter().any(|above| path.starts_with(above)) {
            continue;
        }
        let Some(here) = place(path) else {
            let todo = "it belongs to no room: name its room in xtask/src/tidy/rooms.rs".to_owned();
            findings.push(Finding::new(path, 1, "room", "", todo));
            continue;
        };
        for (other, line) in modules.needs(number) {
            let other = &modules.all[other].source.path;
            let Some(there) = place(other) else { continue };
            if there != here && there.level >= here.level {
                let (from, to) = (here.name, there.name);
                let todo =
                    format!("'{from}' imports {other} of '{to}', which is not below it: move what both need down");
                findings.push(Finding::new(path, line, "upward", other, todo));
            }
        }
    }
    findings.extend(empty_rooms(modules));
    findings
}

/// A room in which no file lies holds nothing in order.
fn empty_rooms(modules: &Modules) -> Vec<Finding> {
    let taken: Vec<Place> = modules.all.iter().filter_map(|module| place(&module.source.path)).collect();
    let rooms = LEVELS.iter().flat_map(|level| level.iter());
    let empty = rooms.filter(|room| !taken.iter().any(|place| place.name == room.name));
    let finding = |room: &Room| {
        let todo = format!("room '{}' has no file: correct its paths", room.name);
        Finding::new("xtask/src/tidy/rooms.rs", 1, "room", room.name, todo)
    };
    empty.map(finding).collect()
}

fn place(path: &str) -> Option<Place> {
    let rooms = LEVELS.iter().enumerate().flat_map(|(level, rooms)| rooms.iter().map(move |room| (level, room)));
    let fitting =
        rooms.flat_map(|(level, room)| room.paths.iter().map(move |start| (start, Place { level, name: room.name })));
    let fitting = fitting.filter(|(start, _)| begins(path, start));
    fitting.max_by_key(|(start, _)| start.len()).map(|(_, place)| place)
}

/// `src/api` is begun by `src/api.rs` and `src/api/`, not by `src/apiary.rs`.
fn begins(path: &str, start: &str) -> bool {
    let rest = path.strip_prefix(start);
    rest.is_some_and(|rest| start.ends_with('/') || rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::Source;

    fn upward(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> =
            files.iter().map(|(path, text)| Source::parse(path, text).expect("no Rust")).collect();
        let findings = check(&Modules::of(&sources));
        findings.into_iter().filter(|finding| finding.rule == "upward").map(|finding| finding.path).collect()
    }

    const REPORT: (&str, &str) = ("tlsclose-agent/src/report.rs", "use crate::watch::Watch; pub struct Report;");
    const LEAKS: (&str, &str) = ("tlsclose-agent/core/src/leaks.rs", "use crate::model::Kind; pub struct Tracker;");
    const MODEL: (&str, &str) = ("tlsclose-agent/core/src/model.rs", "pub struct Kind;");

    #[test]
    fn imports_from_below_are_in_order() {
        let watch = ("tlsclose-agent/src/watch.rs", "use tlsclose_core::leaks::Tracker; pub struct Watch;");
        assert!(upward(&[REPORT, watch, LEAKS, MODEL]).is_empty());
    }

    #[test]
    fn imports_from_above_or_beside_are_not() {
        let watch = ("tlsclose-agent/src/watch.rs", "pub struct Watch; fn show() { crate::report::Report; }");
        assert_eq!(upward(&[REPORT, watch]), [watch.0]);
        let closes = ("tlsclose-agent/core/src/closes.rs", "use crate::leaks::Tracker;");
        assert_eq!(upward(&[closes, LEAKS, MODEL]), [closes.0]);
    }

    #[test]
    fn every_file_has_a_room() {
        let source = [Source::parse("tlsclose-agent/src/attic.rs", "").expect("no Rust")];
        assert_eq!(check(&Modules::of(&source))[0].path, "tlsclose-agent/src/attic.rs");
        assert_eq!(place("tlsclose-agent/src/apiary.rs").map(|place| place.name), None);
        assert_eq!(place("tlsclose-agent/src/attribution/symbols.rs").map(|place| place.name), Some("attribution"));
        assert_eq!(place("tlsclose-agent/src/attribution/java.rs").map(|place| place.name), Some("attribution"));
    }
}
