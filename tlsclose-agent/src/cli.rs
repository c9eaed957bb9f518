//! The command line: what can be asked, and how a wrong question is answered.
//!
//! One file per command, and one for what commands share. Nothing here acts.

use std::ffi::OsString;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Parser, Subcommand};

pub mod agent;
pub mod leaks;
pub mod shared;
pub mod states;
pub mod top;

pub use agent::AgentArgs;
pub use leaks::LeaksArgs;
pub use shared::{DoctorArgs, ExplainArgs};
pub use states::StatesArgs;
pub use top::TopArgs;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Examples:
  tlsclose doctor                    what this host allows, and what is lost where it does not
  tlsclose agent                     watch this host; metrics on http://127.0.0.1:9988/metrics
  tlsclose leaks                     who leaks sockets now, and in which line of code
  tlsclose top                       the same as a live screen
  tlsclose leaks --standalone        the same without an agent: watch for 15 s, then print
  tlsclose explain fin_wait2_held    what a finding means and how to fix it

Exit codes: 0 done, 1 the host cannot do it, 2 wrong usage, 3 lost contact with the agent,
4 what --fail-on names was found.";

/// Finds the program, and the line of code, that leaks TCP sockets.
#[derive(Debug, Parser)]
#[command(
    name = "tlsclose",
    version,
    styles = STYLES,
    after_help = EXAMPLES,
    arg_required_else_help = false,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Agent(Box<AgentArgs>),
    Leaks(Box<LeaksArgs>),
    Top(TopArgs),
    States(StatesArgs),
    Doctor(DoctorArgs),
    Explain(ExplainArgs),
    /// Name addresses for the agent, without privileges; speaks on standard input and output.
    #[command(hide = true)]
    Symbolize,
}

/// Why there is nothing to run.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// Asked for: print it on standard output and exit 0.
    Help(String),
    /// One line for standard error; exit 2.
    Usage(String),
}

/// Reads a command line, the program's name first.
pub fn parse<I, T>(arguments: I) -> Result<Cli, Stop>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    use clap::error::ErrorKind;

    Cli::try_parse_from(arguments).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Help(error.render().ansi().to_string()),
        ErrorKind::MissingSubcommand => Stop::Usage(
            "error: a command is missing: agent, leaks, top, states, doctor or explain (see --help)".to_owned(),
        ),
        _ => Stop::Usage(one_line(&error.render().to_string())),
    })
}

/// The error without the usage and the hints that clap puts below it.
fn one_line(rendered: &str) -> String {
    let message: Vec<&str> = rendered
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let message = message.join(" ");
    format!("{message} (see --help)")
}

#[cfg(test)]
mod tests;
