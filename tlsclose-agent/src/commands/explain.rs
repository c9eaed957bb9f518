//! `tlsclose explain`.

use std::process::ExitCode;

use super::{Done, print};
use crate::{cli::ExplainArgs, explain};

pub fn run(args: &ExplainArgs) -> Done {
    print(&explain::text(args.kind))?;
    Ok(ExitCode::SUCCESS)
}
