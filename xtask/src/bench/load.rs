//! nginx that answers at once, and wrk that asks.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::plan::Plan;
use crate::background::Background;
use crate::interrupt;
use crate::run;

const NGINX: &str = "/usr/sbin/nginx";
/// No load goes on for longer, whatever becomes of who started it.
const LONGEST: Duration = Duration::from_secs(3600);

/// How requests use connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    OneEach,
    Kept,
}

/// What requests go over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Plain,
    Tls,
}

/// A web server with one worker: with wrk's one thread, both ends fill two cores.
pub struct Server {
    process: Background,
    directory: PathBuf,
    port: u16,
    tls_port: u16,
}

/// Requests one after the other on 64 connections, until it is dropped.
pub struct Load(#[allow(dead_code, reason = "kept to end it")] Background);

impl Server {
    pub fn start(plan: &Plan) -> Result<Server> {
        let directory = plan.directory.join("nginx");
        fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0"));
        let [port, tls_port] = listeners.map(|listener| Ok::<u16, std::io::Error>(listener?.local_addr()?.port()));
        let (port, tls_port) = (port.context("no free port for nginx")?, tls_port.context("no free port for nginx")?);
        make_certificate(&directory)?;
        let file = directory.join("nginx.conf");
        fs::write(&file, configuration(&directory, port, tls_port))
            .with_context(|| format!("cannot write {}", file.display()))?;
        let mut nginx = Command::new(NGINX);
        nginx.arg("-c").arg(&file).arg("-e").arg(directory.join("error.log"));
        let process = Background::start("nginx", nginx, &directory.join("stderr.log"))?;
        let mut server = Server { process, directory, port, tls_port };
        server.wait_until_it_listens()?;
        Ok(server)
    }

    /// Asks for as long as `time` says, and returns what came of it.
    pub fn ask(&self, connections: Connections, transport: Transport, time: Duration) -> Result<Asked> {
        interrupt::check()?;
        let output = run::output(&mut self.wrk(connections, transport, time))?;
        asked(&output).with_context(|| format!("wrk printed no result:\n{output}"))
    }

    /// Asks until what this returns is dropped.
    pub fn load(&self, connections: Connections, transport: Transport) -> Result<Load> {
        let wrk = self.wrk(connections, transport, LONGEST);
        Ok(Load(Background::start_unread("wrk", wrk, &self.directory.join("wrk.log"))?))
    }

    fn wrk(&self, connections: Connections, transport: Transport, time: Duration) -> Command {
        let mut wrk = Command::new("wrk");
        wrk.args(["--threads", "1", "--connections", "64"]);
        wrk.args(["--duration", &format!("{}s", time.as_secs())]);
        if connections == Connections::OneEach {
            wrk.args(["--header", "Connection: close"]);
        }
        wrk.arg(match transport {
            Transport::Plain => format!("http://127.0.0.1:{}/", self.port),
            Transport::Tls => format!("https://127.0.0.1:{}/", self.tls_port),
        });
        wrk
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

/// A self-signed one; wrk does not look at it.
fn make_certificate(directory: &Path) -> Result<()> {
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    make.args(["-subj", "/CN=localhost", "-keyout"]).arg(directory.join("key.pem"));
    make.arg("-out").arg(directory.join("certificate.pem"));
    run::output(&mut make).map(drop)
}

fn configuration(directory: &Path, port: u16, tls_port: u16) -> String {
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
        listen 127.0.0.1:{tls_port} ssl backlog=4096;
        ssl_certificate {directory}/certificate.pem;
        ssl_certificate_key {directory}/key.pem;
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
