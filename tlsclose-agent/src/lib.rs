//! tlsclose: finds the program, and the line of code, that leaks TCP sockets.
//!
//! The rooms, lowest first; none imports from one above it:
//! [`host`], [`api`], [`kernel`], [`why`], [`attribution`], [`watch`], [`report`], [`output`],
//! [`cli`], [`commands`]. What is pure lies below all of them, in `tlsclose-core`.
#![deny(unsafe_code)]

mod api;
mod attribution;
mod cli;
mod commands;
mod config;
mod explain;
mod host;
#[allow(unsafe_code, reason = "the boundary to the kernel; every use says why it is sound")]
mod kernel;
mod logging;
mod output;
mod report;
mod watch;
mod why;

use std::{ffi::OsString, process::ExitCode};

use cli::{Command, Stop};

/// Runs the command that the arguments name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match cli::parse(arguments) {
        Ok(cli) => cli,
        Err(Stop::Help(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(Stop::Usage(line)) => {
            eprintln!("{line}");
            return ExitCode::from(commands::USAGE);
        }
    };
    let done = match cli.command {
        // Comes before anything that could start a thread: the helper gives up its privileges.
        Command::Symbolize => return tlsclose_symbols::helper::helper_main(host::memory::Budget::now().heap),
        Command::Agent(args) => commands::agent::run(*args),
        Command::Leaks(args) => commands::leaks::run(*args),
        Command::Top(args) => commands::top::run(&args),
        Command::States(args) => commands::states::run(args),
        Command::Doctor(args) => commands::doctor::run(args),
        Command::Explain(args) => commands::explain::run(&args),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("tlsclose: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
