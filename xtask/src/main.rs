//! `cargo xtask`: every command that people and CI use.
#![deny(unsafe_code)] // but for one call of aya in bench::hooks

mod aarch64;
mod agent;
mod background;
mod bench;
mod beside;
mod btf;
mod compile;
mod debian;
mod demo;
mod fuzz;
mod http;
mod interrupt;
mod leaky;
mod progress;
mod run;
mod setup;
mod stamp;
mod summary;
mod test;
mod tidy;
#[path = "../../tlsclose-agent/build/toolchain.rs"]
mod toolchain;
mod tools;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set up, show, test and measure tlsclose.
///
/// Start with `cargo xtask demo`: it installs what is missing, builds everything, catches a
/// leaking server in the act and shows the line of code that leaks. Run it as root, on Debian 12
/// or newer, or with your own BPF toolchain.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Setup(setup::Options),
    Demo(demo::Options),
    Test(test::Options),
    Tidy(tidy::Options),
    Bench(bench::Options),
    Vm(vm::Options),
    Btf(btf::Options),
    Fuzz(fuzz::Options),
    #[command(hide = true)]
    Beside(beside::Options),
}

fn main() -> ExitCode {
    interrupt::listen();
    let result = match Cli::parse().command {
        Command::Setup(options) => setup::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Tidy(options) => tidy::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Vm(options) => vm::run(&options),
        Command::Btf(options) => btf::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Beside(options) => beside::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
