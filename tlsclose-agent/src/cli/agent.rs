//! `tlsclose agent`. Every flag also reads `TLSCLOSE_…` from the environment.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::shared::{LogArgs, Places};
use crate::output::http::ListenAddress;
use crate::output::otlp::Collector;
use tlsclose_core::model::duration::parse_positive;

const EXAMPLES: &str = "\
Every flag can also be set in the environment: --leak-after is TLSCLOSE_LEAK_AFTER,
--web.listen-address is TLSCLOSE_WEB_LISTEN_ADDRESS. Durations are written like 500ms, 3s, 5m, 1h30m.

Examples:
  tlsclose agent                                    metrics on http://127.0.0.1:9988/metrics
  tlsclose agent --web.listen-address :9988         for a Prometheus on another host
  tlsclose agent --leak-after 5m                    where quiet half-closed sockets are normal
  tlsclose agent --config /etc/tlsclose.toml        other rules for some programs";

/// Watch this host; serve metrics, the API and the page.
///
/// Needs root; `tlsclose doctor` says what else a host must give. `tlsclose leaks` asks this
/// agent through its socket.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AgentArgs {
    #[command(flatten)]
    pub web: WebArgs,

    #[command(flatten)]
    pub otlp: OtlpArgs,

    #[command(flatten)]
    pub watch: WatchArgs,

    #[command(flatten)]
    pub bounds: BoundArgs,

    #[command(flatten)]
    pub places: Places,

    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Serving")]
pub struct WebArgs {
    /// Where to serve metrics: host:port, or :port for every address
    #[arg(
        long = "web.listen-address",
        env = "TLSCLOSE_WEB_LISTEN_ADDRESS",
        default_value = "127.0.0.1:9988",
        value_name = "ADDRESS",
        hide_env = true
    )]
    pub listen_address: ListenAddress,

    /// Path of the metrics
    #[arg(long = "web.telemetry-path", env = "TLSCLOSE_WEB_TELEMETRY_PATH", default_value = "/metrics", value_name = "PATH", value_parser = telemetry_path, hide_env = true)]
    pub telemetry_path: String,

    /// TLS, client certificates and passwords, in the format of Prometheus's exporters
    #[arg(long = "web.config.file", env = "TLSCLOSE_WEB_CONFIG_FILE", value_name = "FILE", hide_env = true)]
    pub config_file: Option<PathBuf>,

    /// Whether TCP clients may see addresses, stacks and command lines
    ///
    /// Only clients that --web.config.file asks for a password or a certificate. The owner of --socket
    /// sees everything anyway.
    #[arg(
        long = "web.details",
        env = "TLSCLOSE_WEB_DETAILS",
        value_enum,
        default_value_t,
        value_name = "off|on",
        hide_env = true
    )]
    pub details: Switch,

    /// A further name by which clients may call this host; can be given several times
    ///
    /// Addresses, localhost, the host's own name and that of --web.listen-address are always
    /// accepted. Others are refused, so that no web page can reach the agent through a name
    /// that its owner points here.
    #[arg(
        long = "web.allowed-host",
        env = "TLSCLOSE_WEB_ALLOWED_HOST",
        value_delimiter = ',',
        value_name = "NAME",
        hide_env = true
    )]
    pub allowed_hosts: Vec<String>,

    /// The socket that `tlsclose leaks` asks; only its owner can open it, and sees every detail
    #[arg(long, env = "TLSCLOSE_SOCKET", default_value = super::leaks::SOCKET, value_name = "PATH", hide_env = true)]
    pub socket: PathBuf,

    /// Show command lines, which may hold secrets
    #[arg(long, env = "TLSCLOSE_SHOW_CMDLINE", value_parser = clap::builder::BoolishValueParser::new(), hide_env = true)]
    pub show_cmdline: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    #[default]
    Off,
    On,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    #[default]
    Auto,
    On,
    Off,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "OpenTelemetry")]
pub struct OtlpArgs {
    /// Push the metrics over OTLP (gRPC) to this collector, like http://collector:4317
    #[arg(long = "otlp.endpoint", env = "TLSCLOSE_OTLP_ENDPOINT", value_name = "URL", hide_env = true)]
    pub endpoint: Option<Collector>,

    /// How often to push them
    #[arg(long = "otlp.interval", env = "TLSCLOSE_OTLP_INTERVAL", default_value = "60s", value_name = "DURATION", value_parser = parse_positive, hide_env = true)]
    pub interval: Duration,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Watching")]
pub struct WatchArgs {
    /// How long a half-closed socket may stay untouched before it lingers
    #[arg(long, env = "TLSCLOSE_LEAK_AFTER", default_value = "60s", value_name = "DURATION", value_parser = parse_positive, hide_env = true)]
    pub leak_after: Duration,

    /// How far back growth is judged [default: ten times --leak-after, at least 5m]
    #[arg(long, env = "TLSCLOSE_LEAK_WINDOW", value_name = "DURATION", value_parser = parse_positive, hide_env = true)]
    leak_window: Option<Duration>,

    /// How often all sockets are looked at; stretched so that it costs at most 1 % of a core
    #[arg(long, env = "TLSCLOSE_CENSUS_INTERVAL", default_value = "5s", value_name = "DURATION", value_parser = parse_positive, hide_env = true)]
    pub census_interval: Duration,

    /// Show established connections without keepalive on which nothing moved for this long; 0: off
    #[arg(long, env = "TLSCLOSE_IDLE_AFTER", default_value = "0", value_name = "DURATION", value_parser = tlsclose_core::model::duration::parse, hide_env = true)]
    pub idle_after: Duration,

    /// Watch calls of close(), for what they leave open or close twice; auto: where the host allows it
    #[arg(long, env = "TLSCLOSE_CLOSE_CALLS", value_enum, default_value_t, value_name = "WHEN", hide_env = true)]
    pub close_calls: When,

    /// Rules for some programs or sites: another leak-after, or ignore
    #[arg(long, env = "TLSCLOSE_CONFIG", value_name = "FILE", hide_env = true)]
    pub config: Option<PathBuf>,
}

impl WatchArgs {
    /// The window in force: as given, else the larger of ten times `leak_after` and 5 minutes.
    pub fn leak_window(&self) -> Duration {
        self.leak_window.unwrap_or_else(|| self.leak_after.saturating_mul(10).max(Duration::from_secs(300)))
    }
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Bounds")]
pub struct BoundArgs {
    /// Half-closed sockets watched at once, and TLS connections; what does not fit is counted as lost
    ///
    /// Each takes about 130 bytes of the kernel's memory from the start on, and a TLS connection as
    /// much again while it lasts (below 6.1 from the start, too).
    #[arg(long, env = "TLSCLOSE_MAX_SOCKETS", default_value_t = 131_072, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4_194_304), hide_env = true)]
    pub max_sockets: u32,

    /// Sites with a name of their own; the others are ~other
    #[arg(long, env = "TLSCLOSE_MAX_SITES", default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), hide_env = true)]
    pub max_sites: u32,

    /// Series of metrics with a name of their own; the others are ~other
    #[arg(long, env = "TLSCLOSE_MAX_SERIES", default_value_t = 5000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000), hide_env = true)]
    pub max_series: u32,

    /// Stacks taken per second and CPU
    #[arg(long, env = "TLSCLOSE_MAX_STACKS_PER_SECOND", default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000), hide_env = true)]
    pub max_stacks_per_second: u32,

    /// Copies of stack memory taken per second and CPU, to learn how a library's functions return
    #[arg(long, env = "TLSCLOSE_MAX_STACK_COPIES_PER_SECOND", default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), hide_env = true)]
    pub max_stack_copies_per_second: u32,
}

fn telemetry_path(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-.".contains(&byte);
    if text == "/" || !text.starts_with('/') || !text.bytes().all(plain) {
        return Err("must begin with / and hold letters, digits, and / _ - . only".to_owned());
    }
    if text.starts_with("/api/") || ["/healthz", "/readyz", "/page.css", "/page.js"].contains(&text) {
        return Err("is taken by the API".to_owned());
    }
    Ok(text.to_owned())
}
