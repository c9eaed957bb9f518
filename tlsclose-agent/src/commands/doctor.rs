//! `tlsclose doctor`: loads everything, says what came of it, and leaves nothing behind.

use std::process::ExitCode;

use super::{CANNOT, Done, Failure, load, print};
use crate::{
    api::{Feature, SCHEMA},
    cli::{DoctorArgs, shared::OutputFormat},
    host::{self, facts},
    kernel::{Options, features::ProbedFeature, hook::Hook},
    logging,
    output::doctor::{self, Doctor},
};

pub fn run(args: DoctorArgs) -> Done {
    logging::start(&args.log);
    let (_, kernel) = host::name_and_kernel();
    let host = facts::of_this_host(args.places.btf.as_deref(), &args.places.cgroupfs);
    let (refusal, features) = match load(&args.places, Options::default()) {
        Ok(loaded) => (None, loaded.features.iter().map(ProbedFeature::described).collect()),
        Err(error) => (Some(error.to_string()), refused()),
    };
    let can_run = refusal.is_none();
    let conclusion = doctor::conclusion(refusal.as_deref(), &features, &host);
    let doctor = Doctor { schema: SCHEMA, kernel, can_run, conclusion, features, host };
    let text = match args.output {
        OutputFormat::Json => serde_json::to_string(&doctor).map_err(|error| Failure::cannot(&error))? + "\n",
        OutputFormat::Table | OutputFormat::Wide => doctor.table(),
    };
    print(&text)?;
    Ok(if can_run { ExitCode::SUCCESS } else { ExitCode::from(CANNOT) })
}

/// Nothing could be loaded, so every feature is missing.
fn refused() -> Vec<Feature> {
    let feature = |&hook: &Hook| ProbedFeature { hook, available: false, probe: "not loaded".to_owned() }.described();
    Hook::ALL.iter().map(feature).collect()
}
