//! The unit, as systemd judges it.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use tlsclose_tests::child::run;
use tlsclose_tests::host::{root, tlsclose, tool};
use tlsclose_tests::seconds;

/// Of 100, in systemd's own measure; 0 is a service that can do nothing.
const EXPOSURE: u32 = 34;

/// Fails with what systemd says of the unit in a tree of files.
pub fn verify(tree: &Path, unit: &str) {
    // The units that every host has, and every service needs.
    let units = tree.join("usr/lib/systemd/system");
    std::fs::create_dir_all(&units).expect("a directory");
    let mut copy = Command::new("cp");
    let copied = run(copy.args(["--archive", "--no-clobber", "/lib/systemd/system/."]).arg(&units), seconds(30));
    assert_eq!(copied.code, Some(0), "{}", copied.stderr);
    let mut verify = Command::new(tool("systemd-analyze"));
    verify.arg("verify").arg(format!("--root={}", tree.display())).arg(unit);
    let output = run(&mut verify, seconds(30));
    let about_it: Vec<&str> = output.stderr.lines().filter(|line| line.contains(unit)).collect();
    assert!(output.code == Some(0) && about_it.is_empty(), "{}", output.stderr);
}

#[test]
fn systemd_understands_every_line_of_the_unit() {
    let tree = TempDir::new().expect("a directory");
    for (file, place) in
        [(root().join("deploy/systemd/tlsclose.service"), "etc/systemd/system"), (tlsclose(), "usr/bin")]
    {
        let place = tree.path().join(place);
        std::fs::create_dir_all(&place).expect("a directory");
        std::fs::copy(&file, place.join(file.file_name().expect("a name"))).expect("a copy");
    }
    verify(tree.path(), "tlsclose.service");
}

#[test]
fn the_unit_stays_hardened() {
    let mut judge = Command::new(tool("systemd-analyze"));
    judge.args(["security", "--no-pager", "--offline=yes", &format!("--threshold={EXPOSURE}")]);
    let output = run(judge.arg(root().join("deploy/systemd/tlsclose.service")), seconds(30));
    assert_eq!(output.code, Some(0), "{}", output.stdout);
}
