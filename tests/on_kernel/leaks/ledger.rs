//! The accounts balance: what lingered has ended, or lingers still.

use std::time::Instant;

use rustix::process::Signal;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::host::unique_comm;
use tlsclose_tests::leaky::{Language, Leaky, load, way_named};
use tlsclose_tests::metrics::Metrics;
use tlsclose_tests::netns::Netns;
use tlsclose_tests::{patient, seconds, wait_for};

const LINGERED: &str = "tlsclose_lingered_sockets_total";
const LINGERING: &str = "tlsclose_lingering_sockets";
const ENDED: &str = "tlsclose_lingering_ended_total";

/// Checks each series of the program, and gives how many have lingered.
fn check(metrics: &Metrics, comm: &str) -> f64 {
    let mut all = 0.0;
    for series in metrics.select(LINGERED, &[("comm", comm)]) {
        let of = [("comm", comm), ("kind", &*series.labels["kind"]), ("site", &*series.labels["site"])];
        let (ended, still) = (metrics.sum(ENDED, &of), metrics.sum(LINGERING, &of));
        assert_eq!(Some(series.value), ended.zip(still).map(|(ended, still)| ended + still), "{series:?}");
        all += series.value;
    }
    all
}

#[test]
fn beside_a_churn_every_leak_is_counted_once_and_every_account_balances() {
    let [busy, quiet] = [Netns::new(), Netns::new()];
    let agent = Agent::start();
    let churn_comm = unique_comm();
    let mut churn = load(&busy, &["churn", "--for", "14", "--comm", &churn_comm]);
    let pool_comm = unique_comm();
    let pool = ["pool", "--count", "40", "--every", "0.1", "--for", "14", "--comm", &pool_comm];
    let _pool = load(&quiet, &pool);
    let start = |way: &str, arguments: &[&str]| {
        let arguments = [&["--for", "60"], arguments].concat();
        Leaky::start(&quiet, Language::C, way_named(way), &arguments)
    };
    let kept = start("eof_forget", &["--count", "31", "--rate", "10"]);
    let mut recovers = start("never_read", &["--count", "17", "--recover-after", "7"]);
    let mut killed = start("half_close", &["--count", "13"]);
    let comms: Vec<String> = [&kept.comm, &recovers.comm, &killed.comm, &pool_comm].into_iter().cloned().collect();
    killed.ready();
    let (begin, mut looks) = (Instant::now(), 0);
    while churn.try_wait().is_none() {
        let metrics = agent.metrics();
        comms.iter().for_each(|comm| {
            check(&metrics, comm);
        });
        if begin.elapsed() > seconds(8) && killed.child().try_wait().is_none() {
            killed.child().signal(Signal::KILL);
            killed.child().wait(seconds(5)).expect("an end");
        }
        looks += 1;
        std::thread::sleep(std::time::Duration::from_millis(250));
    }
    assert!(looks > 20, "{looks}");
    recovers.recovered();
    wait_for("both to have ended", seconds(20), || {
        let metrics = agent.metrics();
        let ended = |leaky: &Leaky, how| metrics.sum(ENDED, &[("comm", &leaky.comm), ("how", how)]);
        (ended(&recovers, "closed") == Some(17.0) && ended(&killed, "process_exit") == Some(13.0)).then_some(())
    });
    let metrics = agent.metrics();
    for (leaky, sockets) in [(&kept, 31.0), (&recovers, 17.0), (&killed, 13.0)] {
        assert_eq!(check(&metrics, &leaky.comm), sockets, "{}", leaky.way.name);
    }
    assert_eq!(metrics.sum(LINGERING, &[("comm", &kept.comm)]), Some(31.0));
    assert_eq!(metrics.sum(LINGERED, &[("comm", &churn_comm)]).unwrap_or(0.0), 0.0, "nothing of the churn");
    assert!(check(&metrics, &pool_comm) >= 10.0, "the pool turns over");
    let connections: u64 = churn.wait_for_line("connections ", seconds(1)).parse().expect("a number");
    // Of an emulated machine as much as its time allows.
    let enough = 5_000 / (patient(seconds(1)).as_secs() * patient(seconds(1)).as_secs());
    assert!(connections > enough, "{connections} in 14 s are no churn");
}
