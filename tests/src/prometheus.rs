//! A real Prometheus that scrapes an agent every second.

use std::fs;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::child::Child;
use crate::host::{free_port, tool};
use crate::http::Server;

pub struct Prometheus {
    _child: Child,
    _directory: TempDir,
    port: u16,
}

impl Prometheus {
    /// `more` is added to its configuration.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(agent: u16, more: &str) -> Prometheus {
        Prometheus::start_with(&format!(
            "    - {{job_name: tlsclose, honor_labels: true, static_configs: [{{targets: ['127.0.0.1:{agent}']}}]}}\n{more}"
        ))
    }

    /// With these jobs, and what follows them in a configuration.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_with(jobs: &str) -> Prometheus {
        let directory = TempDir::new().expect("a directory");
        let configuration =
            format!("global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nscrape_configs:\n{jobs}");
        let file = directory.path().join("prometheus.yml");
        fs::write(&file, configuration).expect("a configuration");
        let port = free_port();
        let mut command = Command::new(tool("prometheus"));
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        Prometheus { _child: Child::spawn(&mut command), _directory: directory, port }
    }

    /// The series that an expression gives now. None while it does not answer.
    ///
    /// # Panics
    /// When it does not understand the expression.
    pub fn query(&self, expression: &str) -> Option<Vec<Value>> {
        let byte = |byte: u8| format!("%{byte:02x}");
        let encoded: String = expression.bytes().map(byte).collect();
        let answer = Server::Tcp(self.port).get(&format!("/api/v1/query?query={encoded}")).ok()?;
        if answer.status == 503 {
            return None;
        }
        assert_eq!(answer.status, 200, "{expression}: {}", answer.body);
        answer.json()["data"]["result"].as_array().cloned()
    }
}
