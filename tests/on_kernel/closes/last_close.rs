//! However a socket loses its last descriptor, it has ended, and is in the account as what it was.

use rustix::process::Signal;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::leaky::{Language, Leaky, Way};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::sockets_of;
use tlsclose_tests::{seconds, wait_for};

const LAST_CLOSE: Way = Way {
    name: "last_close",
    kind: "close_wait_eof_read",
    state: "close_wait",
    recv_queue: 0,
    is_client: false,
    touched: None,
};

#[test]
fn every_way_to_lose_the_last_descriptor_ends_the_leak() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let closed = ["close", "close_range", "dup2", "exec", "io_uring"].map(|way| (way, "closed"));
    let start = |(way, how)| {
        let arguments = ["--way", way, "--count", "5", "--for", "60"];
        (way, how, Leaky::start(&namespace, Language::C, &LAST_CLOSE, &arguments))
    };
    let programs: Vec<_> = closed.into_iter().chain([("exit", "process_exit")]).map(start).collect();
    for (way, how, mut leaky) in programs {
        leaky.ready();
        let (pid, comm) = (leaky.pid(), leaky.comm.clone());
        agent.wait_for(way, seconds(20), |report| sockets_of(report, pid) == 5);
        leaky.child().signal(Signal::USR1);
        wait_for(&format!("the end by {way}"), seconds(20), || {
            let metrics = agent.metrics();
            let sum = |name, labels: &[(&str, &str)]| metrics.sum(name, &[&[("comm", &*comm)], labels].concat());
            let ended = sum("tlsclose_lingering_ended_total", &[("how", how)]);
            (ended == Some(5.0) && sum("tlsclose_lingering_sockets", &[]) == Some(0.0)).then_some(())
        });
        let metrics = agent.metrics();
        let sum = |name| metrics.sum(name, &[("comm", &*comm)]);
        assert_eq!(sum("tlsclose_lingered_sockets_total"), Some(5.0), "{way}");
        assert_eq!(sum("tlsclose_lingering_ended_total"), Some(5.0), "{way}: in no other way");
    }
}
