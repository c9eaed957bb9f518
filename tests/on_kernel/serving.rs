//! What people and their tools get: commands, pages, metrics, alerts.

mod access;
mod alerts;
pub(crate) mod command_line;
mod dashboard;
mod http;
mod metrics;
mod otlp;
mod page;
mod rollout;
mod settings;
mod top;
