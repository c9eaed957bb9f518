//! `tlsclose leaks`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::shared::{LogArgs, OutputFormat, Places};
use crate::output::filter::{Filter, Sort};
use tlsclose_core::model::duration::parse_positive;
use tlsclose_core::model::{Kind, Status};

/// Where the agent listens for its owner, unless told otherwise.
pub const SOCKET: &str = "/run/tlsclose/agent.sock";

const EXAMPLES: &str = "\
Examples:
  tlsclose leaks                             every site, the largest first
  tlsclose leaks -p 4117 -o wide             one process, with modules and all examples
  tlsclose leaks --sort rate -T 3            the three that grow fastest
  tlsclose leaks --standalone --for 1m       no agent here: watch for a minute, then print
  tlsclose leaks --fail-on leaking -o json   for a pipeline: exit code 4 when something leaks";

/// Show who leaks sockets, and in which line of code.
///
/// Asks the agent on this host through its socket, or the one that --agent or --socket names. Where
/// none is named and none runs, or with --standalone, loads the programs itself, watches for a while
/// and prints.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LeaksArgs {
    #[command(flatten)]
    pub select: SelectArgs,

    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: OutputFormat,

    /// Exit with 4 when a site has this status, or a worse one
    #[arg(long, value_enum, value_name = "lingering|leaking")]
    pub fail_on: Option<FailOn>,

    #[command(flatten)]
    pub source: SourceArgs,

    #[command(flatten)]
    pub alone: AloneArgs,

    #[command(flatten)]
    pub places: Places,

    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Which sites")]
pub struct SelectArgs {
    /// Only this kind, as `tlsclose explain` knows it
    #[arg(long)]
    pub kind: Option<Kind>,

    /// Only sites of this process
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,

    /// Only sites of programs with this name
    #[arg(short, long)]
    pub comm: Option<String>,

    /// Only sites of this Kubernetes namespace
    #[arg(long)]
    pub namespace: Option<String>,

    /// Only this site
    #[arg(long)]
    pub site: Option<String>,

    /// At most so many sites
    #[arg(short = 'T', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub top: Option<u32>,

    /// What comes first
    #[arg(long, value_enum, default_value_t)]
    pub sort: Sort,
}

impl SelectArgs {
    /// The selection that the API understands (everything but the order).
    pub fn filter(&self) -> Filter {
        Filter {
            kind: self.kind,
            pid: self.pid,
            comm: self.comm.clone(),
            namespace: self.namespace.clone(),
            site: self.site.clone(),
        }
    }

    /// At most so many sites.
    pub fn limit(&self) -> Option<usize> {
        self.top.map(|top| usize::try_from(top).unwrap_or(usize::MAX))
    }
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Where from")]
pub struct SourceArgs {
    /// Ask the agent at this address, like http://node-7:9988
    #[arg(long, env = "TLSCLOSE_AGENT", value_name = "URL", hide_env = true)]
    pub agent: Option<String>,

    /// The socket of the agent on this host [default: /run/tlsclose/agent.sock]
    #[arg(long, env = "TLSCLOSE_SOCKET", value_name = "PATH", hide_env = true)]
    pub socket: Option<PathBuf>,

    /// How long the agent may take to answer
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = parse_positive)]
    pub timeout: Duration,
}

impl SourceArgs {
    /// Where the agent on this host listens.
    pub fn socket(&self) -> &Path {
        self.socket.as_deref().unwrap_or(Path::new(SOCKET))
    }

    /// An agent was named: without it there is nobody else to ask.
    pub fn is_named(&self) -> bool {
        self.agent.is_some() || self.socket.is_some()
    }
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Without an agent")]
pub struct AloneArgs {
    /// Ask no agent: load the programs, watch, print, and leave nothing behind
    #[arg(long, conflicts_with = "agent")]
    pub standalone: bool,

    /// How long to watch without an agent
    #[arg(long = "for", default_value = "15s", value_name = "DURATION", value_parser = parse_positive)]
    pub watch_for: Duration,

    /// How long a half-closed socket may stay untouched, without an agent
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = parse_positive)]
    pub leak_after: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    Lingering,
    Leaking,
}

impl FailOn {
    /// Whether a site of this status is what was asked to fail on, or worse.
    pub fn is_met_by(self, status: Status) -> bool {
        match self {
            Self::Lingering => true,
            Self::Leaking => status == Status::Leaking,
        }
    }
}
