//! The program `tlsclose`.
#![forbid(unsafe_code)]

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    tlsclose_agent::run(env::args_os())
}
