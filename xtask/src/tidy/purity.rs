//! The core reads no clock, no file and no network, starts nothing and knows no environment.

use super::finding::Finding;
use super::modules::Modules;

const PURE: &str = "tlsclose-agent/core/src/";

/// What begins with one of these may not be named there.
const IMPURE: [&[&str]; 13] = [
    &["std", "fs"],
    &["std", "thread"],
    &["std", "process"],
    &["std", "env"],
    &["std", "os"],
    &["std", "time", "SystemTime"],
    &["std", "time", "Instant", "now"],
    &["std", "net", "TcpStream"],
    &["std", "net", "TcpListener"],
    &["std", "net", "UdpSocket"],
    &["std", "net", "ToSocketAddrs"],
    &["std", "io", "stdin"],
    &["std", "io", "stdout"],
];

pub fn check(modules: &Modules) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, module) in modules.all.iter().enumerate() {
        let path = &module.source.path;
        if !path.starts_with(PURE) {
            continue;
        }
        for (words, line) in modules.outside(number) {
            let is_below =
                |impure: &&[&str]| words.len() >= impure.len() && words.iter().zip(*impure).all(|(a, b)| a == b);
            let whole = words.join("::");
            if IMPURE.iter().any(is_below) || whole == "std::time::*" || whole == "std::net::*" {
                let todo = format!("{whole} in the pure core: let the caller read it and pass the result in");
                findings.push(Finding::new(path, line, "impure", &whole, todo));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::Source;

    fn found(path: &str, text: &str) -> Vec<String> {
        let sources = [Source::parse(path, text).expect("no Rust")];
        check(&Modules::of(&sources)).into_iter().map(|finding| finding.subject).collect()
    }

    #[test]
    fn clocks_files_and_threads_are_found_by_whatever_name() {
        let path = "tlsclose-agent/core/src/model.rs";
        assert_eq!(found(path, "use std::fs;"), ["std::fs"]);
        assert_eq!(found(path, "use std::{fs::File, time::Duration};"), ["std::fs::File"]);
        let now = "use std::time::{Duration, Instant as Clock}; fn f() { Clock::now(); }";
        assert_eq!(found(path, now), ["std::time::Instant::now"]);
        assert_eq!(found(path, "fn f() { log(vec![std::env::var(\"A\")]) }"), ["std::env::var"]);
        assert_eq!(found(path, "use std::time; fn f() { time::SystemTime::now(); }"), ["std::time::SystemTime::now"]);
    }

    #[test]
    fn time_and_addresses_that_are_passed_in_are_pure() {
        let text =
            "use std::{net::IpAddr, time::{Duration, Instant}}; fn f(_: Instant, _: IpAddr) -> Duration { todo() }";
        assert_eq!(found("tlsclose-agent/core/src/model.rs", text), Vec::<String>::new());
        assert_eq!(found("tlsclose-agent/src/host.rs", "use std::fs;"), Vec::<String>::new());
    }
}
