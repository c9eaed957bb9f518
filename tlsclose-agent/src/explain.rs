//! `tlsclose explain KIND`: the section of the documentation, so that both say the same.

use tlsclose_core::model::Kind;

const DOCUMENT: &str = include_str!("../../docs/leaks.md");

/// What a kind means, how it comes about, how it is proved and how to fix it.
pub fn explain(kind: Kind) -> &'static str {
    // A test sees to it that every kind has its section.
    section(DOCUMENT, kind.name()).unwrap_or_default()
}

/// The text from the heading `## name` up to the next heading, heading included.
fn section<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let heading = format!("## {name}\n");
    let start = match document.strip_prefix(&heading) {
        Some(_) => 0,
        None => document.find(&format!("\n{heading}"))? + 1,
    };
    let body = start + heading.len();
    let end = document[body..].find("\n## ").map_or(document.len(), |at| body + at + 1);
    Some(document[start..end].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_explained() {
        for kind in Kind::all() {
            let text = explain(kind);
            assert!(text.starts_with(&format!("## {kind}\n")), "{kind}");
            for part in [
                "**How it comes about.**",
                "**How it is proved.**",
                "**What it looks like.**",
                "**How to fix it.**",
                "- C: ",
                "- Go: ",
                "- Java: ",
                "- Python: ",
                "- Node: ",
            ] {
                assert_eq!(text.matches(part).count(), 1, "{kind}: {part}");
            }
        }
    }

    #[test]
    fn every_kind_has_a_runbook() {
        for kind in Kind::all() {
            let path = format!("{}/../docs/runbooks/{kind}.md", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(text.starts_with(&format!("# {kind}\n")), "{kind}");
            assert!(text.contains(&format!("(../leaks.md#{kind})")), "{kind}");
            for part in ["**How urgent.**", "**Look.**", "**Relief.**", "**The ticket.**"] {
                assert_eq!(text.matches(part).count(), 1, "{kind}: {part}");
            }
        }
    }

    #[test]
    fn every_section_is_a_kind() {
        let sections = DOCUMENT.lines().filter_map(|line| line.strip_prefix("## "));
        assert!(sections.eq(Kind::all().map(Kind::name)));
    }

    #[test]
    fn a_section_ends_where_the_next_begins() {
        let document = "# t\n\n## a\n\nfirst\n\n### deeper\n\n## ab\n\nlast\n";
        assert_eq!(section(document, "a"), Some("## a\n\nfirst\n\n### deeper"));
        assert_eq!(section(document, "ab"), Some("## ab\n\nlast"));
        assert_eq!(section(document, "b"), None);
        assert_eq!(section("## a\nx", "a"), Some("## a\nx"));
    }
}
