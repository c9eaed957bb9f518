//! The released agent, running for one test or for many.

pub mod shared;

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::child::Child;
use crate::host::{free_port, tlsclose};
use crate::http::{Response, Server};
use crate::metrics::Metrics;
use crate::{in_vain, seconds, wait_for};

/// What the product promises for SIGTERM.
const END: Duration = Duration::from_secs(2);

/// Fast enough for tests: a socket lingers after 2 s and growth shows within 10 s.
const FLAGS: [(&str, &str); 3] = [("--leak-after", "2s"), ("--leak-window", "10s"), ("--census-interval", "500ms")];

pub struct Agent {
    child: Child,
    place: Place,
}

/// Where an agent is reached; the next one may take it over.
struct Place {
    directory: TempDir,
    port: u16,
}

impl Agent {
    /// With the flags for tests.
    pub fn start() -> Agent {
        Agent::start_with(&[])
    }

    /// Flags as `--name=value` replace those for tests.
    ///
    /// # Panics
    /// When the agent does not get ready.
    pub fn start_with(flags: &[&str]) -> Agent {
        Agent::start_by(Command::new(tlsclose()), flags)
    }

    /// Through a command that becomes the agent when given its arguments.
    ///
    /// # Panics
    /// When the agent does not get ready.
    pub fn start_by(command: Command, flags: &[&str]) -> Agent {
        let place = Place { directory: TempDir::new().expect("a temporary directory"), port: free_port() };
        Agent::start_at(place, command, flags)
    }

    /// As a new version is rolled out: this one ends, and another takes its port and socket.
    ///
    /// # Panics
    /// When one does not end, or the other does not get ready.
    #[must_use]
    pub fn replaced(self) -> Agent {
        let place = self.ended().1;
        Agent::start_at(place, Command::new(tlsclose()), &[])
    }

    fn start_at(place: Place, mut command: Command, flags: &[&str]) -> Agent {
        command.arg("agent").arg(format!("--web.listen-address=127.0.0.1:{}", place.port));
        command.arg("--socket").arg(place.directory.path().join("agent.sock"));
        let replaced = |name: &str| flags.iter().any(|flag| flag.split('=').next() == Some(name));
        for (name, value) in FLAGS.iter().filter(|(name, _)| !replaced(name)) {
            command.args([name, value]);
        }
        let mut agent = Agent { child: Child::spawn(command.args(flags)), place };
        wait_for("the agent to be ready", seconds(20), || {
            let ended = agent.child.try_wait();
            assert!(ended.is_none(), "the agent ended with {ended:?}: {}", agent.child.stderr());
            let answer = agent.owner().get("/readyz").ok()?;
            (answer.status == 200).then_some(())
        });
        agent.assert_quick_census();
        agent
    }

    /// The interval stretches with the number of descriptors on the host, and the tests' patience
    /// does not.
    fn assert_quick_census(&self) {
        let census = &self.leaks()["census"];
        let interval = census["interval_seconds"].as_f64().expect("an interval");
        let fds = &census["fds"];
        assert!(interval < 5.0, "other programs hold {fds} descriptors: a census every {interval:.0} s is too rare");
    }

    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// The agent and its helpers.
    pub fn tree(&self) -> Vec<u32> {
        self.child.tree()
    }

    pub fn stderr(&self) -> String {
        self.child.stderr()
    }

    pub fn port(&self) -> u16 {
        self.place.port
    }

    pub fn socket(&self) -> PathBuf {
        self.place.directory.path().join("agent.sock")
    }

    /// What anybody on the network sees.
    pub fn tcp(&self) -> Server {
        Server::Tcp(self.place.port)
    }

    /// What the owner of the socket sees.
    pub fn owner(&self) -> Server {
        Server::Unix(self.socket())
    }

    /// An answer to the owner.
    ///
    /// # Panics
    /// When the agent does not answer with 200.
    pub fn get(&self, path: &str) -> Response {
        let response = self.owner().get(path);
        let response = response.unwrap_or_else(|error| panic!("{path}: {error}: {}", self.stderr()));
        assert_eq!(response.status, 200, "{path}: {}", response.body);
        response
    }

    /// The report with all details.
    pub fn leaks(&self) -> Value {
        self.get("/api/v1/leaks").json()
    }

    pub fn metrics(&self) -> Metrics {
        Metrics::parse(&self.get("/metrics").body)
    }

    /// What it counted as lost, for people who look for a reason.
    pub fn lost(&self) -> String {
        let metrics = self.get("/metrics").body;
        let is_some = |line: &&str| line.starts_with("tlsclose_lost_total") && !line.ends_with(" 0");
        metrics.lines().filter(is_some).collect::<Vec<_>>().join(", ")
    }

    /// The first report of which `is_so` holds.
    ///
    /// # Panics
    /// When none does in time; it prints the last report.
    pub fn wait_for(&self, what: &str, timeout: Duration, is_so: impl Fn(&Value) -> bool) -> Value {
        let timeout = in_vain(timeout);
        let end = Instant::now() + timeout;
        loop {
            let report = self.leaks();
            if is_so(&report) {
                return report;
            }
            assert!(Instant::now() < end, "waited {timeout:?} in vain for {what}: {report:#}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Until the agent has taken `n` further censuses.
    pub fn wait_for_censuses(&self, n: u32) {
        let taken = || self.metrics().sum("tlsclose_census_duration_seconds_count", &[]);
        let start = taken().expect("tlsclose_census_duration_seconds");
        wait_for("censuses", seconds(30), || (taken()? >= start + f64::from(n)).then_some(()));
    }

    /// Asks the agent to end.
    ///
    /// # Panics
    /// When it takes more than the promised 2 s.
    pub fn stop(self) -> ExitStatus {
        self.ended().0
    }

    fn ended(mut self) -> (ExitStatus, Place) {
        self.child.signal(Signal::TERM);
        let status = self.child.wait(END);
        (status.unwrap_or_else(|| panic!("SIGTERM did not end the agent within {END:?}")), self.place)
    }
}

/// A command of the same binary, to be run to its end.
pub fn tlsclose_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(tlsclose());
    command.args(arguments);
    command
}
