//! Who watches during a load: the agent, or another tool.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::agent::Agent;
use crate::background::Background;
use crate::interrupt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observer {
    Agent,
    Tcpstates,
    Tcplife,
}

/// What watches, until it is dropped.
pub enum Watching {
    Agent(Agent),
    Tool(#[allow(dead_code, reason = "kept to end it")] Background),
}

impl Observer {
    pub fn name(self) -> &'static str {
        match self {
            Observer::Agent => "tlsclose agent",
            Observer::Tcpstates => "tcpstates",
            Observer::Tcplife => "tcplife",
        }
    }

    /// Begins to watch; comes back when the programs are attached.
    pub fn start(self, directory: &Path) -> Result<Watching> {
        match self {
            Observer::Agent => {
                let agent = Agent::start(&directory.join("agent"), &[])?;
                interrupt::sleep(Duration::from_secs(1))?; // a daemon is measured at work, not as it starts
                Ok(Watching::Agent(agent))
            }
            Observer::Tcpstates | Observer::Tcplife => {
                let command = Command::new(format!("/usr/sbin/{}", self.name()));
                let errors = directory.join(format!("{}.log", self.name()));
                let mut tool = Background::start_unread(self.name(), command, &errors)?;
                interrupt::sleep(Duration::from_secs(2))?; // it says nothing when it is ready
                tool.must_live()?;
                Ok(Watching::Tool(tool))
            }
        }
    }
}
