//! nginx that answers at once, and wrk that asks.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Plan;
use crate::background::Background;
use crate::interrupt;
use crate::run;

const NGINX: &str = "/usr/sbin/nginx";

/// How requests use connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    OneEach,
    Kept,
}

/// A web server with one worker: with wrk's one thread, both ends fill two cores.
pub struct Server {
    process: Background,
    port: u16,
}

impl Server {
    pub fn start(plan: &Plan) -> Result<Server> {
        let directory = plan.directory.join("nginx");
        fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port for nginx")?;
        let port = listener.local_addr().context("no free port for nginx")?.port();
        drop(listener);
        let file = directory.join("nginx.conf");
        fs::write(&file, configuration(&directory, port))
            .with_context(|| format!("cannot write {}", file.display()))?;
        let mut nginx = Command::new(NGINX);
        nginx.arg("-c").arg(&file).arg("-e").arg(directory.join("error.log"));
        let process = Background::start("nginx", nginx, &directory.join("stderr.log"))?;
        let mut server = Server { process, port };
        server.wait_until_it_listens()?;
        Ok(server)
    }

    /// Asks for as long as `time` says, and returns what came of it.
    pub fn ask(&self, connections: Connections, time: Duration) -> Result<Asked> {
        interrupt::check()?;
        let mut wrk = Command::new("wrk");
        wrk.args(["--threads", "1", "--connections", "64"]);
        wrk.args(["--duration", &format!("{}s", time.as_secs())]);
        if connections == Connections::OneEach {
            wrk.args(["--header", "Connection: close"]);
        }
        wrk.arg(format!("http://127.0.0.1:{}/", self.port));
        let output = run::output(&mut wrk)?;
        asked(&output).with_context(|| format!("wrk printed no result:\n{output}"))
    }

    fn wait_until_it_listens(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            self.process.must_live()?;
            if Instant::now() > deadline {
                bail!("nginx does not listen on port {} after 10 s", self.port);
            }
            interrupt::sleep(Duration::from_millis(20))?;
        }
        Ok(())
    }
}

#[derive(Debug, PartialEq)]
pub struct Asked {
    pub requests: f64,
    pub per_second: f64,
}

fn asked(output: &str) -> Option<Asked> {
    let per_second = output.lines().find_map(|line| line.strip_prefix("Requests/sec:"))?;
    let requests = output.lines().find_map(|line| line.trim().split_once(" requests in "))?.0;
    Some(Asked { requests: requests.parse().ok()?, per_second: per_second.trim().parse().ok()? })
}

fn configuration(directory: &Path, port: u16) -> String {
    let directory = directory.display();
    format!(
        "daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {directory}/client;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        return 200 \"ok\\n\";
    }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_of_wrk_is_read() {
        let output = "Running 3s test @ http://127.0.0.1:18080/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Req/Sec    41.41k   401.16    42.12k    70.97%
  127802 requests in 3.10s, 17.67MB read
Requests/sec:  41221.05
Transfer/sec:      5.70MB
";
        let expected = Asked { requests: 127_802.0, per_second: 41_221.05 };
        assert_eq!(asked(output), Some(expected));
    }
}
