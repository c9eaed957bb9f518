//! The Debian package.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use tlsclose_tests::child::Child;
use tlsclose_tests::host::{needs, root, tlsclose, tool, unique_comm};
use tlsclose_tests::http::Server;
use tlsclose_tests::leaky::{Language, way_named};
use tlsclose_tests::machine::Machine;
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{frames_in, function, list};
use tlsclose_tests::{rights, seconds, wait_for};

use crate::{done, installed, systemd};

fn package_in(directory: &TempDir) -> PathBuf {
    let package = directory.path().join("tlsclose.deb");
    let mut build = Command::new(installed("bin/cargo-deb"));
    build.current_dir(root()).args(["--package", "tlsclose-agent", "--no-build", "--no-strip", "--fast", "--output"]);
    done(build.arg(&package));
    package
}

#[test]
fn the_package_holds_the_agent_and_a_service_that_starts_it() {
    let directory = TempDir::new().expect("a directory");
    let package = package_in(&directory);
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
    // What alerts and documents lead to.
    let documents = tree.join("usr/share/doc/tlsclose");
    for (directory, file) in [
        ("docs/runbooks", "TLSCloseSocketLeak.md"),
        ("docs", "leaks.md"),
        ("deploy/grafana", "tlsclose.json"),
        ("deploy/prometheus", "alerts.yaml"),
    ] {
        assert!(documents.join(directory).join(file).is_file(), "no {file} in {directory}");
    }
}

/// The machine is a container, so the agent is told where the processes of the host are to be seen.
const SETTINGS: &str = "TLSCLOSE_LEAK_AFTER=2s\nTLSCLOSE_LEAK_WINDOW=10s\nTLSCLOSE_CENSUS_INTERVAL=500ms\n\
                        TLSCLOSE_PROCFS=/host/proc\n";

#[test]
fn installed_on_a_debian_its_service_finds_a_leak_from_within_its_sandbox() {
    needs(&["unshare", "mmdebstrap"]);
    let directory = TempDir::new().expect("a directory");
    let namespace = Netns::new();
    let machine = Machine::start(&namespace);
    let systemctl = |words: &[&str]| machine.run("systemctl", words).0.trim().to_owned();
    let said = || machine.run("journalctl", &["--no-pager", "--unit=tlsclose"]).0;
    fs::copy(package_in(&directory), machine.path("/root/tlsclose.deb")).expect("a copy");
    done(machine.command("dpkg").args(["--install", "/root/tlsclose.deb"]));
    assert_eq!(
        (&*systemctl(&["is-active", "tlsclose"]), &*systemctl(&["is-enabled", "tlsclose"])),
        ("active", "enabled")
    );
    assert_doctor_says_what_it_cannot_see(&machine);
    fs::write(machine.path("/etc/default/tlsclose"), SETTINGS).expect("the settings");
    done(machine.command("systemctl").args(["restart", "tlsclose"]));
    let agent = Server::Unix(machine.path("/run/tlsclose/agent.sock"));
    wait_for("the agent", seconds(20), || {
        assert_eq!(systemctl(&["is-active", "tlsclose"]), "active", "{}", said());
        agent.get("/readyz").ok().filter(|answer| answer.status == 200)
    });
    let pid = systemctl(&["show", "--property=MainPID", "--value", "tlsclose"]);
    assert_is_confined(&fs::read_to_string(machine.path(&format!("/proc/{pid}/status"))).expect("its process"));
    assert_finds_a_leak(&machine, &agent, said);

    done(machine.command("dpkg").args(["--purge", "tlsclose"]));
    assert_eq!(systemctl(&["is-active", "tlsclose"]), "inactive", "{}", said());
    assert!(!machine.path("/usr/bin/tlsclose").exists() && !machine.path("/run/tlsclose").exists());
}

fn assert_doctor_says_what_it_cannot_see(machine: &Machine) {
    let doctor = machine.run("tlsclose", &["doctor"]).0;
    let conclusion = doctor.lines().last().unwrap_or_default();
    let seen = conclusion.split_once(": reduced: sees ").and_then(|(_, rest)| rest.split_once(' '));
    assert!(
        seen.is_some_and(|(number, _)| number.parse().is_ok_and(|number: u32| (2..100).contains(&number))),
        "{doctor}"
    );
    assert!(conclusion.ends_with("not in the host's PID namespace (hostPID)"), "{doctor}");
}

/// By what the unit says, in `/proc/PID/status`.
fn assert_is_confined(status: &str) {
    let capabilities: u64 = rights::NUMBERS.iter().map(|(_, number)| 1 << number).sum();
    for line in ["Seccomp:\t2".to_owned(), "NoNewPrivs:\t1".to_owned(), format!("CapBnd:\t{capabilities:016x}")] {
        assert!(status.contains(&line), "no {line}: {status}");
    }
}

fn assert_finds_a_leak(machine: &Machine, agent: &Server, said: impl Fn() -> String) {
    let name = unique_comm();
    let program = format!("/srv/{name}");
    fs::copy(Language::StaticC.program(), machine.path(&program)).expect("a copy");
    let way = way_named("eof_forget");
    let mut leak = machine.command(&program);
    let mut leaky = Child::spawn(leak.args([way.name, "--count", "4", "--for", "60"]));
    leaky.wait_for_line("ready", seconds(20));
    let site = wait_for("the leak", seconds(30), || {
        let report = agent.get("/api/v1/leaks").ok()?.json();
        let is_it = |site: &&serde_json::Value| site["processes"][0]["comm"] == *name && site["sockets"] == 4;
        assert_eq!(report["complete"], false, "it cannot see who holds what outside");
        list(&report["sites"]).find(is_it).cloned()
    });
    let place = frames_in(&site["opened"]["stack"], "ways.c");
    let frame = place.first().unwrap_or_else(|| panic!("{}{site:#}", said()));
    let line = way.line(Language::StaticC, "opened");
    assert_eq!((function(frame), &frame["line"]), (&*way.opened_function(), &line.into()));
    assert_eq!(site["processes"][0]["exe"], program);
    assert!(site["processes"][0]["open_fds"].as_u64() >= Some(4), "{site:#}");
}
