//! `tlsclose doctor`: loads everything, says what came of it, and leaves nothing behind.

use std::process::ExitCode;

use super::{CANNOT, Done, Failure, load, print};
use crate::{
    cli::{DoctorArgs, shared::OutputFormat},
    finding::SCHEMA,
    host,
    kernel::{features::HOOKS, load::Options},
    logging,
    output::doctor::Doctor,
    snapshot::Feature,
};

pub fn run(args: DoctorArgs) -> Done {
    logging::start(&args.log);
    let (_, kernel) = host::name_and_kernel();
    let (can_run, features) = match load(&args.places, Options::default()) {
        Ok(loaded) => (true, loaded.features.iter().map(|feature| feature.described()).collect()),
        Err(error) => (false, refused(&error.to_string())),
    };
    let doctor = Doctor { schema: SCHEMA, kernel, can_run, features };
    let text = match args.output {
        OutputFormat::Json => serde_json::to_string(&doctor).map_err(|error| Failure::cannot(&error))? + "\n",
        OutputFormat::Table | OutputFormat::Wide => doctor.table(),
    };
    print(&text)?;
    Ok(if can_run { ExitCode::SUCCESS } else { ExitCode::from(CANNOT) })
}

/// Nothing could be loaded: every feature is missing, for one reason.
fn refused(why: &str) -> Vec<Feature> {
    let feature = |hook: &crate::kernel::features::Hook| Feature {
        name: hook.feature.to_owned(),
        available: false,
        probe: why.to_owned(),
        without: hook.without.to_owned(),
    };
    HOOKS.iter().map(feature).collect()
}
