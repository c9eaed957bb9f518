//! `tlsclose states`: the flags people know from bcc's `tcpstates`.

use clap::Args;

use super::shared::{LogArgs, OutputFormat, Places};

const EXAMPLES: &str = "\
The columns are those of bcc's tcpstates, but C-PID and C-COMM are the socket's owner, not whatever
ran when the packet came; they are ? where the socket has no owner yet. MS is the time spent in
OLDSTATE, in milliseconds.

Examples:
  tlsclose states                  every transition on this host
  tlsclose states -Tw              with the time, and wide enough for IPv6
  tlsclose states -L 443,8443      sockets of these local ports
  tlsclose states -c nginx -o json for a program: one JSON object per line";

/// Show every TCP transition as it happens, with the socket's owner.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct StatesArgs {
    /// Only sockets that this process owns
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,

    /// Only sockets that programs with this name own
    #[arg(short, long)]
    pub comm: Option<String>,

    /// Only these local ports, like 80,443
    #[arg(short = 'L', long, value_delimiter = ',', value_name = "PORTS")]
    pub localport: Vec<u16>,

    /// Only these remote ports
    #[arg(short = 'D', long, value_delimiter = ',', value_name = "PORTS")]
    pub remoteport: Vec<u16>,

    /// Only IPv4
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,

    /// Only IPv6
    #[arg(short = '6', long)]
    pub ipv6: bool,

    /// A column with the time (UTC)
    #[arg(short = 'T', long)]
    pub time: bool,

    /// Columns wide enough for IPv6 addresses
    #[arg(short = 'w', long)]
    pub wide: bool,

    /// How to print; json is one object per line
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: OutputFormat,

    #[command(flatten)]
    pub places: Places,

    #[command(flatten)]
    pub log: LogArgs,
}
