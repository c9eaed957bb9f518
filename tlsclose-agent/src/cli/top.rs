//! `tlsclose top`.

use std::time::Duration;

use clap::Args;

use super::leaks::{SelectArgs, SourceArgs};
use tlsclose_core::model::duration::parse_positive;

const EXAMPLES: &str = "\
Keys: ↑ ↓ choose a site, Enter opens it, Esc goes back, c r a sort by count, rate or age, / filters
by any text (namespace, pod, process, function, kind, site), q ends.

Examples:
  tlsclose top                             every site, the largest first
  tlsclose top --sort rate                 the fastest growing first
  tlsclose top --namespace shop            one namespace of Kubernetes
  tlsclose top --agent http://node-7:9988  another host";

/// Show who leaks sockets as a live screen; needs a running agent.
///
/// Asks the agent on this host through its socket, or another one with --agent.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TopArgs {
    #[command(flatten)]
    pub select: SelectArgs,

    /// How often to ask the agent
    #[arg(short, long, default_value = "2s", value_name = "DURATION", value_parser = parse_positive)]
    pub interval: Duration,

    #[command(flatten)]
    pub source: SourceArgs,
}
