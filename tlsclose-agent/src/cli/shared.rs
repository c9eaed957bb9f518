//! What several commands take, and the commands too small for a file of their own.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use tlsclose_core::model::Kind;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Table,
    /// For people, with everything that is known.
    Wide,
    /// For programs; one object per line on a stream.
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    /// Also what the kernel's verifier says.
    Debug,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// How much to say on standard error
    #[arg(
        long = "log.level",
        env = "TLSCLOSE_LOG_LEVEL",
        value_enum,
        default_value_t,
        value_name = "LEVEL",
        hide_env = true
    )]
    pub level: LogLevel,

    /// How to say it
    #[arg(
        long = "log.format",
        env = "TLSCLOSE_LOG_FORMAT",
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        hide_env = true
    )]
    pub format: LogFormat,
}

/// Where the kernel shows itself.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Places")]
pub struct Places {
    /// The host's /proc
    #[arg(long, env = "TLSCLOSE_PROCFS", default_value = "/proc", value_name = "PATH", hide_env = true)]
    pub procfs: PathBuf,

    /// The host's cgroups, for what `tlsclose doctor` says of them
    #[arg(long, env = "TLSCLOSE_CGROUPFS", default_value = "/sys/fs/cgroup", value_name = "PATH", hide_env = true)]
    pub cgroupfs: PathBuf,

    /// Where the container runtime listens, for the names of pods; looked for unless given
    #[arg(long, env = "TLSCLOSE_CRI_SOCKET", value_name = "PATH", hide_env = true)]
    pub cri_socket: Option<PathBuf>,

    /// Type information of the running kernel, where it is not in /sys/kernel/btf/vmlinux
    #[arg(long, env = "TLSCLOSE_BTF", value_name = "PATH", hide_env = true)]
    pub btf: Option<PathBuf>,
}

/// Show what this host allows: each feature, how it was probed, and what is lost without it.
///
/// Exits 0 when the agent can run here and 1 when it cannot.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: OutputFormat,

    #[command(flatten)]
    pub places: Places,

    #[command(flatten)]
    pub log: LogArgs,
}

/// Explain a kind of finding: what it means, how it is proved, how to fix it.
#[derive(Debug, Args)]
#[command(after_help = format!("\
Kinds:
  {}

Example:
  tlsclose explain close_wait_eof_read", Kind::all().map(|kind| kind.name()).collect::<Vec<_>>().join("\n  ")))]
pub struct ExplainArgs {
    /// A kind, as `tlsclose leaks` prints it
    pub kind: Kind,
}
