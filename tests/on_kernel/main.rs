//! The released binary on this kernel, against programs that leak and programs that do not.
//!
//! `cargo xtask test` builds what these need. Each module is one promise.
#![forbid(unsafe_code)]

mod attribution;
mod closes;
mod host;
mod leaks;
mod robustness;
mod serving;

use tlsclose_tests::agent::{Agent, shared::Shared};
use tlsclose_tests::expect::wait_for_site;
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;

/// A program with 4 lingering sockets, and an agent that knows them.
fn agent_and_leak(namespace: &Netns, flags: &[&str]) -> (Agent, Leaky) {
    let agent = Agent::start_with(flags);
    let leaky = leak_known_to(&agent, namespace);
    (agent, leaky)
}

/// The same with the agent that tests share.
fn shared_agent_and_leak(namespace: &Netns) -> (Shared, Leaky) {
    let agent = Agent::shared();
    let leaky = leak_known_to(&agent, namespace);
    (agent, leaky)
}

fn leak_known_to(agent: &Agent, namespace: &Netns) -> Leaky {
    let way = way_named("eof_forget");
    let mut leaky = Leaky::start(namespace, Language::C, way, &["--count", "4", "--for", "90"]);
    leaky.ready();
    wait_for_site(agent, &leaky, 4);
    leaky
}
