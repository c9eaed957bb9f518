//! TLS peers for the tests, and what the agent counted of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::agent::Agent;
use crate::child::run;
use crate::host::{root, tool, unique_comm};
use crate::netns::Netns;
use crate::{patient, seconds, wait_for};

/// A self-signed certificate for `localhost`, with its key.
pub struct Certificate {
    directory: TempDir,
}

impl Certificate {
    /// # Panics
    /// When openssl cannot make one.
    #[allow(clippy::new_without_default, reason = "it runs a program")]
    pub fn new() -> Certificate {
        use std::os::unix::fs::PermissionsExt;
        let directory = TempDir::new().expect("a temporary directory");
        let (key, certificate) = (directory.path().join("key.pem"), directory.path().join("certificate.pem"));
        let mut make = Command::new(tool("openssl"));
        make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
        make.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
        make.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
        let made = run(&mut make, seconds(20));
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        let both = fs::read_to_string(&certificate).expect("a certificate") + &fs::read_to_string(&key).expect("a key");
        fs::write(directory.path().join("both.pem"), both).expect("a file");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        Certificate { directory }
    }

    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }

    /// Both as PKCS #12, with the password `secret`.
    ///
    /// # Panics
    /// When openssl cannot make it.
    pub fn key_store(&self) -> PathBuf {
        let store = self.directory.path().join("store.p12");
        let mut make = Command::new(tool("openssl"));
        make.args(["pkcs12", "-export", "-passout", "pass:secret", "-in"]).arg(self.both()).arg("-out").arg(&store);
        let made = run(&mut make, seconds(20));
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        store
    }

    /// Both in one file.
    pub fn both(&self) -> PathBuf {
        self.directory.path().join("both.pem")
    }
}

/// A Python program of the tests.
pub fn python_program(name: &str) -> PathBuf {
    root().join("tests/leaky/python").join(name)
}

/// The Python interpreter itself, behind whatever stands in front of it.
///
/// # Panics
/// When there is none.
pub fn python() -> PathBuf {
    let asked = run(Command::new(tool("python3")).args(["-c", "import sys; print(sys.executable)"]), seconds(20));
    Path::new(asked.stdout.trim()).to_owned()
}

/// Two processes that speak TLS records without TLS, by the names that the agent shall know them by.
pub struct Wire {
    pub server: String,
    pub client: String,
}

impl Wire {
    #[allow(clippy::new_without_default, reason = "each has names of its own")]
    #[must_use]
    pub fn new() -> Wire {
        Wire { server: unique_comm(), client: unique_comm() }
    }

    #[must_use]
    pub fn command(&self, namespace: &Netns, arguments: &[&str]) -> Command {
        let mut command = namespace.command(python());
        command.arg("-B").arg(python_program("tls_wire.py")).args(["--server", &self.server, "--client", &self.client]);
        command.args(arguments);
        command
    }
}

/// Runs `count` connections to their end.
///
/// # Panics
/// When they fail.
#[must_use]
pub fn exchange(namespace: &Netns, arguments: &[&str], count: u64) -> Wire {
    let wire = Wire::new();
    let count = count.to_string();
    let output = run(wire.command(namespace, arguments).args(["--count", &count]), seconds(60));
    assert_eq!(output.stdout, "done\n", "{arguments:?}: {}", output.stderr);
    wire
}

/// An agent that has seen TLS: what programs send is followed from then on. Before, it is unknown.
///
/// # Panics
/// When it does not see TLS.
#[must_use]
pub fn watching(namespace: &Netns) -> Agent {
    watching_with(namespace, &[])
}

/// The same with flags.
///
/// # Panics
/// When it does not see TLS.
#[must_use]
pub fn watching_with(namespace: &Netns, flags: &[&str]) -> Agent {
    let agent = Agent::start_with(flags);
    wait_for("sends to be followed", seconds(30), || {
        let first = exchange(namespace, &[], 1);
        let local = wait_for("a first close", seconds(20), || outcomes(&agent, &first.client, "local").pop());
        assert!(matches!(&*local.0, "unknown" | "truncated"), "{local:?}");
        (local.0 == "truncated").then_some(())
    });
    agent
}

/// How the connections of the programs called `comm` ended on one side: all outcomes with a count.
fn outcomes(agent: &Agent, comm: &str, side: &str) -> Vec<(String, u64)> {
    let metrics = agent.metrics();
    let samples = metrics.select("tlsclose_tls_closes_total", &[("comm", comm), ("side", side)]);
    let counted = samples.into_iter().filter(|sample| sample.value > 0.0);
    let mut outcomes: Vec<_> = counted.map(|sample| (sample.labels["outcome"].clone(), sample.value as u64)).collect();
    outcomes.sort();
    outcomes
}

/// Connections of the programs called `comm` that they truncated right after sending data.
///
/// # Panics
/// When there is not one such count.
pub fn after_data(agent: &Agent, comm: &str) -> u64 {
    let metrics = agent.metrics();
    let samples = metrics.select("tlsclose_tls_truncated_after_data_total", &[("comm", comm)]);
    assert_eq!(samples.len(), 1, "{comm}");
    samples[0].value as u64
}

/// Waits until exactly these outcomes are there, and sees that no more come.
///
/// Where tasks are preempted within the kernel, it skips a program now and then, and says so: as many connections may
/// be unknown then, and where too little is seen to tell the end, not even be recognised as TLS. Returns how many of the
/// local ones.
///
/// # Panics
/// When they are not there in time.
pub fn assert_outcomes(agent: &Agent, comm: &str, local: &[(&str, u64)], remote: &[(&str, u64)], what: &str) -> u64 {
    let total: u64 = local.iter().map(|(_, count)| count).sum();
    let all_there = || outcomes(agent, comm, "local").iter().map(|(_, count)| count).sum::<u64>() >= total;
    // What a kernel has skipped never comes.
    let end = Instant::now() + patient(seconds(20));
    while !all_there() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
    }
    agent.wait_for_censuses(1);
    let metrics = agent.metrics();
    let lost = metrics.select("tlsclose_lost_total", &[]);
    let lost: Vec<_> = lost.into_iter().filter(|sample| sample.value > 0.0).collect();
    let skipped = lost.iter().find(|sample| sample.labels["reason"] == "recursion").map_or(0.0, |sample| sample.value);
    let [not_told, _] = [("local", local), ("remote", remote)].map(|(side, expected)| {
        let seen = outcomes(agent, comm, side);
        let not_told = not_told(&seen, expected).filter(|number| *number <= skipped as u64);
        not_told.unwrap_or_else(|| panic!("{what} ({comm}), {side}: {seen:?} instead of {expected:?}; lost: {lost:?}"))
    });
    not_told
}

/// How many of the expected outcomes are unknown instead, or missing where unknown is what was expected. None where one
/// is another, or one too many.
fn not_told(seen: &[(String, u64)], expected: &[(&str, u64)]) -> Option<u64> {
    const UNKNOWN: &str = "unknown";
    let seen: BTreeMap<&str, u64> = seen.iter().map(|(outcome, count)| (outcome.as_str(), *count)).collect();
    let mut expected: BTreeMap<&str, u64> = expected.iter().copied().collect();
    let all: u64 = expected.values().sum();
    let unknown = expected.remove(UNKNOWN).unwrap_or(0);
    let missing = all.checked_sub(seen.values().sum()).filter(|missing| *missing <= unknown)?;
    let mut became_unknown = 0;
    for (outcome, count) in seen {
        if outcome == UNKNOWN {
            became_unknown = count.saturating_sub(unknown);
        } else if count > expected.get(outcome).copied().unwrap_or(0) {
            return None;
        }
    }
    Some(missing + became_unknown)
}

/// How the program's own direction ended, once all connections have: what the peer answered is a
/// race where a program does not wait for it.
///
/// # Panics
/// When they are not there in time.
pub fn local_outcomes(agent: &Agent, comm: &str, count: u64) -> Vec<(String, u64)> {
    wait_for(&format!("{count} closes of {comm}"), seconds(10), || {
        let local = outcomes(agent, comm, "local");
        (local.iter().map(|(_, count)| count).sum::<u64>() >= count).then_some(local)
    })
}

/// The code path of a program that truncates, once it is there.
pub fn wait_for_tls_site(agent: &Agent, comm: &str) -> serde_json::Value {
    wait_for(&format!("a site of {comm} that truncates"), seconds(20), || {
        let report = agent.leaks();
        let sites = report["tls_sites"].as_array()?;
        sites.iter().find(|site| site["comm"] == comm && site["site"] != "unsampled").cloned()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_what_is_unknown_is_excused() {
        let not_told = |seen: &[(&str, u64)], expected: &[(&str, u64)]| {
            let seen: Vec<_> = seen.iter().map(|(outcome, count)| ((*outcome).to_owned(), *count)).collect();
            super::not_told(&seen, expected)
        };
        assert_eq!(not_told(&[("clean", 20)], &[("clean", 20)]), Some(0));
        assert_eq!(not_told(&[("clean", 18), ("unknown", 2)], &[("clean", 20)]), Some(2));
        assert_eq!(not_told(&[("clean", 19), ("truncated", 1)], &[("clean", 20)]), None);
        assert_eq!(not_told(&[("clean", 20), ("unknown", 1)], &[("clean", 20)]), None);
        assert_eq!(not_told(&[("clean", 19)], &[("clean", 20)]), None);
        assert_eq!(not_told(&[("clean", 1), ("unknown", 19)], &[("unknown", 20)]), None);
        assert_eq!(not_told(&[("unknown", 20)], &[("unknown", 20)]), Some(0));
        assert_eq!(not_told(&[("unknown", 17)], &[("unknown", 20)]), Some(3));
        assert_eq!(not_told(&[("clean", 9), ("unknown", 10)], &[("clean", 10), ("unknown", 10)]), Some(1));
        assert_eq!(not_told(&[("clean", 8), ("unknown", 10)], &[("clean", 10), ("unknown", 1)]), None);
    }
}
