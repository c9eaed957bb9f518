//! Reading the JSON of `leaks`.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::host::root;

/// An array's members; none for null.
pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The sites in which a process holds sockets.
pub fn sites_of(report: &Value, pid: u32) -> Vec<&Value> {
    list(&report["sites"]).filter(|site| process_of(site, pid).is_some()).collect()
}

/// A process's entry in a site.
pub fn process_of(site: &Value, pid: u32) -> Option<&Value> {
    list(&site["processes"]).find(|process| process["pid"] == pid)
}

/// All lingering sockets of a process.
pub fn sockets_of(report: &Value, pid: u32) -> u64 {
    let processes = list(&report["sites"]).filter_map(|site| process_of(site, pid));
    processes.filter_map(|process| process["sockets"].as_u64()).sum()
}

/// Whether any site of the process is leaking.
pub fn is_leaking(report: &Value, pid: u32) -> bool {
    sites_of(report, pid).iter().any(|site| site["status"] == "leaking")
}

/// Where the frames of a source file are in a stack, innermost first.
pub fn frames_in<'a>(stack: &'a Value, source: &str) -> Vec<&'a Value> {
    let in_source = |frame: &&Value| frame["file"].as_str().is_some_and(|file| file.ends_with(source));
    list(stack).filter(in_source).collect()
}

/// The function and the place of a call without a name, by the program as it was before it was stripped.
///
/// # Panics
/// When addr2line does not know them.
pub fn named_by(program: &Path, frame: &Value) -> (String, String) {
    // A return address belongs to the call before it.
    let call = format!("{:#x}", address(program, hex(frame["offset"].as_str().expect("an offset"))) - 1);
    let named = Command::new("addr2line").args(["-f", "-e"]).arg(program).arg(call).output().expect("addr2line");
    let named = String::from_utf8(named.stdout).expect("UTF-8");
    let (name, place) = named.trim().split_once('\n').expect("two lines");
    (name.to_owned(), place.to_owned())
}

fn hex(number: &str) -> u64 {
    u64::from_str_radix(number.trim_start_matches("0x"), 16).expect("a number")
}

/// The address that a place in a program's file was linked for, by the segment that it is in.
fn address(program: &Path, offset: u64) -> u64 {
    let headers = Command::new("readelf").args(["-lW"]).arg(program).output().expect("readelf").stdout;
    let headers = String::from_utf8(headers).expect("UTF-8");
    let segments = headers.lines().filter_map(|line| {
        let mut cells = line.trim().strip_prefix("LOAD")?.split_whitespace().map(hex);
        // Of its five numbers the third is the physical address, and the last is the size in memory.
        Some((cells.next()?, cells.next()?, cells.nth(1)?))
    });
    let is_in = |(begin, _, size): &(u64, u64, u64)| (*begin..begin + size).contains(&offset);
    let (begin, linked_for, _) = segments.into_iter().find(is_in).expect("a segment");
    offset - begin + linked_for
}

/// A function's name without its path.
pub fn function(frame: &Value) -> &str {
    let name = frame["function"].as_str().unwrap_or_default();
    // Legacy mangling leaves a hash as the last part.
    let is_hash = |part: &str| part.len() == 17 && part.starts_with('h');
    name.rsplit("::").find(|part| !is_hash(part)).unwrap_or(name)
}

/// The line that is marked so in a file of the repository.
///
/// # Panics
/// When there is not exactly one.
pub fn line_in(source: &str, marker: &str) -> u64 {
    marked_line(&std::fs::read_to_string(root().join(source)).expect("the source"), marker)
}

/// The line in a source file that is marked `LINE: marker`, counted from 1.
///
/// # Panics
/// When there is not exactly one.
pub fn marked_line(source: &str, marker: &str) -> u64 {
    let marker = format!("LINE: {marker}");
    let is_marked = |line: &str| line.trim_end_matches("*/").trim_end().ends_with(&marker);
    let lines: Vec<_> = (1..).zip(source.lines()).filter(|(_, line)| is_marked(line)).collect();
    let [(number, _)] = lines[..] else { panic!("{} lines are marked {marker}", lines.len()) };
    number
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn markers_are_found_in_both_languages_and_not_by_their_beginning() {
        let source = "a\n  x(); /* LINE: way opened */\n  y(); // LINE: way opened caller\n";
        assert_eq!(marked_line(source, "way opened"), 2);
        assert_eq!(marked_line(source, "way opened caller"), 3);
    }

    #[test]
    fn functions_are_named_without_path_and_hash() {
        assert_eq!(function(&json!({"function": "leaky::ways::go"})), "go");
        assert_eq!(function(&json!({"function": "leaky::ways::go::h0123456789abcdef"})), "go");
        assert_eq!(function(&json!({"function": null})), "");
    }

    #[test]
    fn sockets_are_counted_by_process_over_all_sites() {
        let report = json!({"sites": [
            {"status": "lingering", "processes": [{"pid": 1, "sockets": 2}, {"pid": 2, "sockets": 9}]},
            {"status": "leaking", "processes": [{"pid": 1, "sockets": 3}]}]});
        assert_eq!(sockets_of(&report, 1), 5);
        assert_eq!(sites_of(&report, 2).len(), 1);
        assert!(is_leaking(&report, 1) && !is_leaking(&report, 2));
    }
}
