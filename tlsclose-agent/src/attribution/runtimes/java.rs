//! Java: whether the code that HotSpot makes at run time can be walked. It keeps frame pointers
//! only if it was told to (`-XX:+PreserveFramePointer`); what it was told stands in its arguments
//! and in its environment, which come from the process and may hold anything.

use crate::attribution::modules::{MappedModules, Modules};
use tlsclose_core::model::ProcessId;

/// The process runs HotSpot, and nothing says that its code keeps frame pointers.
pub fn hides_callers(process: ProcessId, mapped: &MappedModules, modules: &mut Modules) -> bool {
    let is_java = mapped.ids().any(|id| modules.get(id).is_some_and(|module| module.path.ends_with("/libjvm.so")));
    is_java && !modules.started_with(process).is_some_and(|(arguments, variables)| is_told(&arguments, &variables))
}

/// Whether the last word on it is yes. The virtual machine reads `JAVA_TOOL_OPTIONS`, then its
/// arguments, to which the launcher has put `JDK_JAVA_OPTIONS` in front, then `_JAVA_OPTIONS`.
fn is_told(arguments: &[u8], variables: &[u8]) -> bool {
    let variable = |name: &str| {
        let is_it = |entry: &&[u8]| entry.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
        let value = variables.split(|byte| *byte == 0).find(is_it).unwrap_or_default();
        value.get(name.len() + 1..).unwrap_or_default().split(u8::is_ascii_whitespace)
    };
    let words = variable("JAVA_TOOL_OPTIONS")
        .chain(variable("JDK_JAVA_OPTIONS"))
        .chain(options(arguments))
        .chain(variable("_JAVA_OPTIONS"));
    let said = words.filter_map(|word| match word {
        b"-XX:+PreserveFramePointer" => Some(true),
        b"-XX:-PreserveFramePointer" => Some(false),
        _ => None,
    });
    said.last().unwrap_or(false)
}

/// The launcher's own options: what comes before the program's name (`java --help`).
fn options(arguments: &[u8]) -> impl Iterator<Item = &[u8]> {
    const WITH_VALUE: [&[u8]; 13] = [
        b"-cp",
        b"-classpath",
        b"--class-path",
        b"-p",
        b"--module-path",
        b"--upgrade-module-path",
        b"--add-modules",
        b"--add-exports",
        b"--add-opens",
        b"--add-reads",
        b"--limit-modules",
        b"--patch-module",
        b"--source",
    ];
    const LAST: [&[u8]; 3] = [b"-jar", b"-m", b"--module"];
    let mut words = arguments.split(|byte| *byte == 0).skip(1);
    std::iter::from_fn(move || {
        let word = words.next().filter(|word| word.starts_with(b"-") && !LAST.contains(word))?;
        if WITH_VALUE.contains(&word) {
            words.next();
        }
        Some(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_frame_pointers_counts() {
        const YES: &str = "-XX:+PreserveFramePointer";
        const NO: &str = "-XX:-PreserveFramePointer";
        let cases: [(&[&str], &[&str], bool); 14] = [
            (&["java", "App"], &[], false),
            (&["java", YES, "App"], &[], true),
            (&["/usr/bin/java", "-Xmx1g", "-cp", "a.jar", YES, "App"], &[], true),
            (&["java", YES, NO, "App"], &[], false),
            (&["java", NO, YES, "-jar", "app.jar"], &[], true),
            (&["java", "App", YES], &[], false),
            (&["java", "-jar", "app.jar", YES], &[], false),
            (&["java", "-m", "app/app.Main", YES], &[], false),
            (&["java", "-cp", YES, "App"], &[], false),
            (&["java", "App"], &["HOME=/", "JAVA_TOOL_OPTIONS=-Xmx1g -XX:+PreserveFramePointer"], true),
            (&["java", NO, "App"], &["JAVA_TOOL_OPTIONS=-XX:+PreserveFramePointer"], false),
            (&["java", YES, "App"], &["_JAVA_OPTIONS=-XX:-PreserveFramePointer"], false),
            (&["java", "App"], &["JDK_JAVA_OPTIONS=-XX:+PreserveFramePointer"], true),
            (&["java", "App"], &["MY_JAVA_TOOL_OPTIONS=-XX:+PreserveFramePointer", "X"], false),
        ];
        for (arguments, variables, expected) in cases {
            assert_eq!(is_told(&joined(arguments), &joined(variables)), expected, "{arguments:?} {variables:?}");
        }
        assert!(!is_told(b"", b""));
    }

    fn joined(words: &[&str]) -> Vec<u8> {
        words.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect()
    }
}
