use super::*;

const FILE: &str = r#"
[[rule]]
comm = "envoy"
namespace = "mesh-*"
leak-after = "5m"

[[rule]]
exe = "/opt/*/bin/pool"
ignore = true

[[rule]]
comm = "envoy"
leak-after = "2m"

[[rule]]
site = "9f2c41d0a7be"
ignore = true
"#;

fn after(seconds: u64) -> Rule {
    Rule { leak_after: Some(Duration::from_secs(seconds)), ignore: false }
}

const IGNORED: Rule = Rule { leak_after: None, ignore: true };

#[test]
fn the_first_rule_whose_every_condition_holds_decides() {
    let rules = Rules::parse(FILE).unwrap();
    let cases = [
        (("envoy", "/usr/bin/envoy", "mesh-a"), after(300)),
        (("envoy", "/usr/bin/envoy", ""), after(120)),
        (("pool", "/opt/x/bin/pool", ""), IGNORED),
        (("pool", "/opt/x/bin/pool2", ""), Rule::default()),
        (("Envoy", "", "mesh-a"), Rule::default()),
        (("", "", ""), Rule::default()),
    ];
    for ((comm, exe, namespace), expected) in cases {
        assert_eq!(rules.for_process(comm, exe, namespace), expected, "{comm} {exe}");
    }
    assert_eq!(rules.for_site("9f2c41d0a7be"), IGNORED);
    assert_eq!(rules.for_site("000000000000"), Rule::default());
    assert_eq!(Rules::default().for_process("a", "b", "c"), Rule::default());
    assert_eq!(Rules::parse(""), Ok(Rules::default()));
}

#[test]
fn a_wrong_file_is_one_line_with_file_and_line() {
    let cases = [
        (
            "[[rule]]\ncomm = \"a\"\nleak_after = \"5m\"",
            3,
            "unknown field `leak_after`, expected one of `comm`, `exe`, `namespace`, `site`, `leak-after`, `ignore`",
        ),
        ("[[rules]]\ncomm = \"a\"", 1, "unknown field `rules`, expected `rule`"),
        ("\n[[rule]]\ncomm = \"a\"", 2, "a rule needs either leak-after or ignore = true"),
        (
            "\n[[rule]]\ncomm = \"a\"\nignore = true\nleak-after = \"1m\"",
            2,
            "a rule needs either leak-after or ignore = true",
        ),
        ("[[rule]]\nignore = true", 1, "a rule needs a comm, an exe, a namespace or a site"),
        (
            "[[rule]]\nsite = \"a\"\ncomm = \"b\"\nignore = true",
            1,
            "a rule is either for a site or for comm, exe and namespace",
        ),
        (
            "[[rule]]\ncomm = \"a\"\nleak-after = \"5\"",
            3,
            "leak-after = \"5\": the unit is missing: write it like 500ms, 3s, 5m or 1h30m",
        ),
        ("[[rule]]\ncomm = 5", 2, "invalid type: integer `5`, expected a string"),
    ];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rules.toml");
    for (text, line, message) in cases {
        std::fs::write(&path, text).unwrap();
        let error = Rules::read(&path).unwrap_err().to_string();
        assert_eq!(error, format!("{}:{line}: {message}", path.display()));
    }
    std::fs::write(&path, "[[rule]]\ncomm = ").unwrap();
    let error = Rules::read(&path).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}:2: ", path.display())) && !error.contains('\n'), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let error = Rules::read(Path::new("/nowhere/rules.toml")).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the rules /nowhere/rules.toml: No such file or directory (os error 2)");
}

#[test]
fn a_star_stands_for_any_text() {
    let cases = [
        ("", "", true),
        ("a", "a", true),
        ("a", "ab", false),
        ("*", "", true),
        ("*", "anything", true),
        ("a*", "abc", true),
        ("*c", "abc", true),
        ("a*c", "abc", true),
        ("a*c", "ab", false),
        ("aa*aa", "aaa", false),
        ("a*b*c", "a1b2c", true),
        ("a*b*c", "a1c2b", false),
        ("**", "x", true),
        ("é*", "éa", true),
    ];
    for (pattern, text, expected) in cases {
        assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
    }
}
