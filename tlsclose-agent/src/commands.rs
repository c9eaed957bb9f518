//! What each command does. The exit codes are a promise.

pub mod agent;
pub mod doctor;
pub mod explain;
pub mod leaks;
pub mod states;
pub mod top;

use std::{fmt::Display, process::ExitCode};

use crate::{
    cli::shared::Places,
    host::rights,
    kernel::{Kernel, LoadError, Options},
    output::agent_client::ClientError,
};

/// The host cannot do it.
pub const CANNOT: u8 = 1;
/// Wrong usage.
pub const USAGE: u8 = 2;
/// What `--fail-on` names was found.
pub const FOUND: u8 = 4;

/// How a command ends that did not do its work: one line, and an exit code.
#[derive(Debug)]
pub struct Failure {
    line: String,
    code: u8,
}

pub type Done = Result<ExitCode, Failure>;

impl Failure {
    pub fn cannot(why: &impl Display) -> Self {
        Self { line: why.to_string(), code: CANNOT }
    }

    pub fn usage(why: &impl Display) -> Self {
        Self { line: why.to_string(), code: USAGE }
    }

    pub fn exit_code(&self) -> u8 {
        self.code
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.line)
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Self::cannot(&error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self { line: error.to_string(), code: error.exit_code() }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::cannot(&error)
    }
}

/// Loads the kernel side, and gives back the memory and the rights that takes.
fn load(places: &Places, mut options: Options) -> Result<Kernel, LoadError> {
    if let Some(btf) = &places.btf {
        options.btf.clone_from(btf);
    }
    options.verbose = log::max_level() >= log::LevelFilter::Debug;
    let mut kernel = Kernel::load(&options)?;
    crate::kernel::malloc_trim::give_back();
    if let Err(error) = rights::give_up(|| kernel.census(|_| {}).is_ok()) {
        log::warn!("cannot give up rights that are not used: {error}");
    }
    Ok(kernel)
}

/// Writes to standard output; a reader that has gone away is no error.
fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// A Tokio runtime on this thread.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::cannot(&format_args!("cannot start: {error}")))
}
