//! What the agent bears: clients that mean harm, files that hang, hosts that lack something.

mod abuse;
pub(crate) mod bad_conditions;
mod budgets;
mod hung_files;
mod interrupted;
