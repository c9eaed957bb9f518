//! Kernels before 6.3 have no tracepoints for reads and sends: what takes their place. Any kernel is such a one for an
//! agent that is given types without them.

use std::path::Path;

use tempfile::TempDir;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::btf::without_names;
use tlsclose_tests::expect::{assert_names_everything, assert_names_opening, wait_for_site};
use tlsclose_tests::host::{kernel_version, on_kernel};
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::list;
use tlsclose_tests::tls::{assert_outcomes, exchange, watching_with};

use crate::bad_conditions::assert_far_from_the_verifiers_limit;

const TRACEPOINTS: [&str; 2] = ["btf_trace_sock_recv_length", "btf_trace_sock_send_length"];

/// Its absence says that no program must run at the end of a function, as before 5.12; where a processor cannot
/// do it (arm64 before 6.4), the kernel refuses.
const SAFE_ENDS: &str = "bpf_tramp_image";

/// Since then x86-64 may keep 16 bytes behind a task's registers (`TOP_OF_KERNEL_STACK_PADDING`).
const FRED: (u32, u32) = (6, 9);

/// What the doctor says that sees reads and sends.
fn places(agent: &Agent) -> [String; 2] {
    let report = agent.get("/api/v1/doctor").json();
    ["eof_stacks", "send_stacks"].map(|name| {
        let feature = list(&report["features"]).find(|feature| feature["name"] == name).expect("the feature");
        let probe = feature["probe"].as_str().expect("a text");
        format!("{} {probe}", feature["available"])
    })
}

/// Kprobes, as far as this host has them.
fn is_allowed() -> bool {
    Path::new("/sys/bus/event_source/devices/kprobe").is_dir()
}

#[test]
fn where_nothing_runs_at_the_end_of_functions_kprobes_see_reads_and_sends() {
    if !on_kernel(&["python3"]) {
        return;
    }
    if kernel_version() >= FRED && is_allowed() {
        // All that lack the tracepoints are older than that.
        println!("skipped: where a task's registers are, only types tell here");
        return;
    }
    const COUNT: u64 = 10;
    let directory = TempDir::new().expect("a directory");
    let btf = directory.path().join("older.btf");
    without_names(&[TRACEPOINTS[0], TRACEPOINTS[1], SAFE_ENDS], &btf);
    let flags = [&*format!("--btf={}", btf.display())];
    let namespace = Netns::new();
    if !is_allowed() {
        let agent = Agent::start_with(&flags);
        let places = places(&agent);
        assert!(places.iter().all(|place| place.starts_with("false ") && place.contains("kprobes")), "{places:?}");
        let mut leaky =
            Leaky::start(&namespace, Language::C, way_named("eof_forget"), &["--count", "3", "--for", "60"]);
        leaky.ready();
        let site = wait_for_site(&agent, &leaky, 3);
        assert_names_opening(&site, &leaky);
        return;
    }
    let agent = watching_with(&namespace, &flags);
    assert_far_from_the_verifiers_limit(&agent);
    let [reads, sends] = places(&agent);
    assert!(
        reads.starts_with("true ") && reads.contains("a kprobe at ") && reads.contains("tcp_cleanup_rbuf"),
        "{reads}"
    );
    assert!(sends.starts_with("true ") && sends.contains("kprobes at tcp_sendmsg"), "{sends}");
    for way in ["eof_forget", "client_forget", "never_read", "half_close"] {
        let mut leaky = Leaky::start(&namespace, Language::C, way_named(way), &["--count", "3", "--for", "60"]);
        leaky.ready();
        assert_names_everything(&wait_for_site(&agent, &leaky, 3), &mut leaky);
    }
    for receive in ["recv", "read", "readv", "recvmsg", "bytewise", "peek", "header_first"] {
        for (end, sent, answered) in [("none", "truncated", "truncated"), ("clean", "clean", "unanswered")] {
            let wire = exchange(&namespace, &["--receive", receive, "--end", end], COUNT);
            let what = format!("{receive}, {end}");
            assert_outcomes(&agent, &wire.client, &[(sent, COUNT)], &[("unknown", COUNT)], &what);
            assert_outcomes(&agent, &wire.server, &[(answered, COUNT)], &[(sent, COUNT)], &what);
        }
    }
}
