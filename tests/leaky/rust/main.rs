//! Programs that leak sockets in one known way each, and always end by themselves: the Rust twin
//! of the C program, with the same command line.
#![forbid(unsafe_code)]

mod holder;
mod options;
mod peer;
mod tls;
mod ways;

use std::io;

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::options::Options;

fn main() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("tls", rest)) = arguments.split_first().map(|(command, rest)| (command.as_str(), rest)) {
        return tls::run(rest);
    }
    let options = Options::parse();
    match ways::find(&options.command) {
        Some(way) => holder::run(&way, &options),
        None if options.command == "peer" => peer::run(&options),
        None => options::usage(&format!("no way is called {}", options.command)),
    }
}
