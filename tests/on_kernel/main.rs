//! The released binary on this kernel, against programs that leak and programs that do not.
//!
//! `cargo xtask test` builds what these need. Each module is one promise.
#![forbid(unsafe_code)]

mod aborts;
mod abuse;
mod accept_queue;
mod access;
mod activated;
mod alerts;
mod bad_conditions;
mod budgets;
mod closers;
mod command_line;
mod containers;
mod copies;
mod dashboard;
mod deployed;
mod descriptors;
mod doctor;
mod ended;
mod exactness;
mod failed;
mod false_alarms;
mod findings;
mod flags;
mod half_open;
mod hands;
mod hanging;
mod http;
mod interrupted;
mod jit;
mod languages;
mod large;
mod last_close;
mod ledger;
mod lifecycle;
mod lockdown;
mod metrics;
mod otlp;
mod page;
mod payments;
mod programs;
mod python;
mod reads;
mod real_programs;
mod rights;
mod rollout;
mod same_site;
mod shared;
mod spins;
mod tls;
mod tls_ends;
mod tls_libraries;
mod tls_peers;
mod top;
mod types;
mod uring;
mod usual_close;

use tlsclose_tests::agent::Agent;
use tlsclose_tests::expect::wait_for_site;
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;

/// A program with 4 lingering sockets, and an agent that knows them.
fn agent_and_leak(namespace: &Netns, flags: &[&str]) -> (Agent, Leaky) {
    let agent = Agent::start_with(flags);
    let way = way_named("eof_forget");
    let mut leaky = Leaky::start(namespace, Language::C, way, &["--count", "4", "--for", "90"]);
    leaky.ready();
    wait_for_site(&agent, &leaky, 4);
    (agent, leaky)
}
