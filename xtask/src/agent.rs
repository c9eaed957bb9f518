//! A released agent that runs for a demo or a measurement, with its socket under `target`.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::background::Background;
use crate::http;
use crate::interrupt;
use crate::workspace;

pub struct Agent {
    process: Background,
    pub socket: PathBuf,
    /// Where it serves metrics to everybody on this host.
    pub address: String,
}

impl Agent {
    /// Starts an agent whose files are in `directory`, and waits for its first census.
    pub fn start(directory: &Path, flags: &[&str]) -> Result<Agent> {
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let socket = directory.join("agent.sock");
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(workspace::program());
        command.arg("agent").arg("--socket").arg(&socket);
        command.args(["--web.listen-address", &address]).args(flags);
        let process = Background::start("the agent", command, &directory.join("agent.log"))?;
        let mut agent = Agent { process, socket, address };
        agent.wait_until_ready(Duration::from_secs(20))?;
        Ok(agent)
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The body of an answer on the owner's socket.
    pub fn get(&self, path: &str) -> Result<String> {
        Ok(http::get(&self.socket, path)?.0)
    }

    /// The present findings.
    pub fn leaks(&self) -> Result<Value> {
        let body = self.get("/api/v1/leaks")?;
        serde_json::from_str(&body).context("the agent's answer to /api/v1/leaks is no JSON")
    }

    /// An error, with its last words, when the agent has ended.
    pub fn must_live(&mut self) -> Result<()> {
        self.process.must_live()
    }

    fn wait_until_ready(&mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while http::get(&self.socket, "/readyz").is_err() {
            self.must_live()?;
            if Instant::now() > deadline {
                bail!("the agent was not ready within {} s", patience.as_secs());
            }
            interrupt::sleep(Duration::from_millis(50))?;
        }
        Ok(())
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port on this host")?;
    Ok(listener.local_addr().context("no free port on this host")?.port())
}
