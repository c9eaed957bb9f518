//! `tlsclose explain`.

use std::process::ExitCode;

use super::{Done, print};
use crate::{cli::ExplainArgs, explain};

pub fn run(args: &ExplainArgs) -> Done {
    print(&format!("{}\n", explain::explain(args.kind)))?;
    Ok(ExitCode::SUCCESS)
}
