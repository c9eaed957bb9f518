//! The Debian package.

use std::process::Command;

use tempfile::TempDir;
use tlsclose_tests::child::{Output, run};
use tlsclose_tests::host::{root, tlsclose, tool};
use tlsclose_tests::seconds;

use crate::{installed, systemd};

fn done(command: &mut Command) -> Output {
    let output = run(command, seconds(120));
    assert_eq!(output.code, Some(0), "{command:?}: {}{}", output.stdout, output.stderr);
    output
}

#[test]
fn the_package_holds_the_agent_and_a_service_that_starts_it() {
    let directory = TempDir::new().expect("a directory");
    let package = directory.path().join("tlsclose.deb");
    let mut build = Command::new(installed("bin/cargo-deb"));
    build.current_dir(root()).args(["--package", "tlsclose-agent", "--no-build", "--no-strip", "--output"]);
    done(build.arg(&package));

    let tree = directory.path().join("tree");
    let dpkg = || Command::new(tool("dpkg-deb"));
    done(dpkg().arg("--extract").arg(&package).arg(&tree));
    systemd::verify(&tree, "tlsclose.service");
    let version = done(Command::new(tree.join("usr/bin/tlsclose")).arg("--version")).stdout;
    assert_eq!(version, done(Command::new(tlsclose()).arg("--version")).stdout);
    let field = |name: &str| done(dpkg().arg("--field").arg(&package).arg(name)).stdout.trim().to_owned();
    assert_eq!(field("Package"), "tlsclose");
    assert_eq!(version.trim(), format!("tlsclose {}", field("Version").trim_end_matches("-1")));
    assert!(field("Depends").starts_with("libc6 (>= "), "{}", field("Depends"));
    let control = |file: &str| done(dpkg().arg("--info").arg(&package).arg(file)).stdout;
    assert_eq!(control("conffiles").trim(), "/etc/default/tlsclose");
    assert!(control("postinst").contains("deb-systemd-invoke"), "nothing starts the service");
    assert!(control("postinst").contains("deb-systemd-helper enable tlsclose.service"));
}
