//! One agent for all tests that need none of their own: it sees them all at once, as a busy host's agent does.

use std::ops::Deref;
use std::os::unix::process::CommandExt;
use std::process::{Child as Process, Command, Stdio};
use std::sync::OnceLock;

use super::Agent;
use crate::child::is_running;

/// Room for the sites and stacks of all tests of a run. What one program may have is as ever.
const ROOM: [&str; 4] =
    ["--max-sites=5000", "--max-series=50000", "--max-stacks-per-second=10000", "--max-stack-copies-per-second=1000"];

/// Waits until nobody holds the other end of its input, ends the agent ($1) and removes its directories ($2, $3).
const CARETAKER: &str = r#"cat > /dev/null
if grep -qs "$2" "/proc/$1/cmdline"; then
    kill -TERM "$1"
    for _ in $(seq 50); do
        [ -e "/proc/$1" ] || break
        sleep 0.1
    done
    kill -KILL "-$1" 2> /dev/null
fi
rm -rf "$2" "$3""#;

/// A test's hold on the agent that tests share. What that says while a test fails is part of the failure.
pub struct Shared {
    agent: &'static Agent,
    said_before: usize,
}

impl Agent {
    /// The agent that all tests of this process share, for those that start, stop and measure none, need no flags and
    /// ask about their own processes and namespaces only. It ends with this process, however that ends.
    ///
    /// # Panics
    /// When it does not get ready, or has ended.
    #[must_use]
    pub fn shared() -> Shared {
        // This process alone holds the pipe to the caretaker: programs that it starts do not inherit it.
        static SHARED: OnceLock<(Agent, Process)> = OnceLock::new();
        let (agent, _) = SHARED.get_or_init(|| {
            let agent = Agent::start_with(&ROOM);
            let caretaker = caretaker(&agent);
            (agent, caretaker)
        });
        let said = agent.stderr();
        assert!(is_running(agent.pid()), "the agent that tests share has ended: {said}");
        Shared { agent, said_before: said.len() }
    }
}

fn caretaker(agent: &Agent) -> Process {
    let mut shell = Command::new("sh");
    shell.args(["-c", CARETAKER, "caretaker", &agent.pid().to_string()]);
    shell.arg(agent.place.directory.path()).arg(agent.child.output());
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // An interrupt from the terminal is for the tests.
    shell.process_group(0).spawn().expect("sh")
}

impl Deref for Shared {
    type Target = Agent;

    fn deref(&self) -> &Agent {
        self.agent
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.agent.stderr();
            let since = said.get(self.said_before..).unwrap_or_default();
            eprintln!("--- the agent that tests share, since this test began\n{since}");
        }
    }
}
