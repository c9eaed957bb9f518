//! Kernels before 6.3 have no tracepoints for reads and sends: what takes their place. Any kernel is such a one for an
//! agent that is given types without them.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::btf::without_names;
use tlsclose_tests::expect::{assert_names_everything, assert_names_opening, wait_for_site};
use tlsclose_tests::host::{kernel_version, needs};
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::list;
use tlsclose_tests::tls::{assert_outcomes, exchange, watching_with};

use crate::robustness::bad_conditions::assert_far_from_the_verifiers_limit;

/// Its absence says that no program must run at the end of a function, as before 5.12; where a processor cannot
/// do it (arm64 before 6.4), the kernel refuses.
const SAFE_ENDS: &str = "bpf_tramp_image";

/// Since then x86-64 may keep 16 bytes behind a task's registers (`TOP_OF_KERNEL_STACK_PADDING`), which programs that
/// read by address do not know: no kernel that needs them is that new.
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

/// Words of the best place that this host allows, for reads and for sends.
fn expected(is_old: bool) -> Option<[&'static str; 2]> {
    if is_old {
        let has_kprobes = Path::new("/sys/bus/event_source/devices/kprobe").is_dir();
        return has_kprobes.then_some(["tcp_cleanup_rbuf in its place", "kprobes at tcp_sendmsg in its place"]);
    }
    let functions = fs::read_to_string("/sys/kernel/tracing/available_filter_functions").unwrap_or_default();
    functions.contains("tcp_recvmsg").then_some(["; tcp_recvmsg in its place", "; tcp_sendmsg in its place"])
}

#[test]
fn without_their_tracepoints_reads_and_sends_are_seen_at_the_next_best_place() {
    needs(&["python3"]);
    const COUNT: u64 = 10;
    let is_old = kernel_version() < FRED;
    let mut names = vec!["btf_trace_sock_recv_length", "btf_trace_sock_send_length"];
    names.extend(is_old.then_some(SAFE_ENDS));
    let directory = TempDir::new().expect("a directory");
    let btf = directory.path().join("older.btf");
    without_names(&names, &btf);
    let flags = [&*format!("--btf={}", btf.display())];
    let namespace = Netns::new();
    let start = |way| Leaky::start(&namespace, Language::C, way_named(way), &["--count", "3", "--for", "60"]);
    let Some(expected) = expected(is_old) else {
        let agent = Agent::start_with(&flags);
        let places = places(&agent);
        assert!(places.iter().all(|place| place.starts_with("false ") && place.contains("no kprobes")), "{places:?}");
        let mut leaky = start("eof_forget");
        leaky.ready();
        assert_names_opening(&wait_for_site(&agent, &leaky, 3), &leaky);
        return;
    };
    let agent = watching_with(&namespace, &flags);
    assert_far_from_the_verifiers_limit(&agent);
    for (place, expected) in places(&agent).iter().zip(expected) {
        assert!(place.starts_with("true ") && place.contains(expected), "{place}");
    }
    for way in ["eof_forget", "client_forget"] {
        let mut leaky = start(way);
        leaky.ready();
        assert_names_everything(&wait_for_site(&agent, &leaky, 3), &mut leaky);
    }
    for (receive, end, sent, answered) in [
        ("recv", "none", "truncated", "truncated"),
        ("header_first", "none", "truncated", "truncated"),
        ("peek", "clean", "clean", "unanswered"),
        ("recvmsg", "clean", "clean", "unanswered"),
    ] {
        let wire = exchange(&namespace, &["--receive", receive, "--end", end], COUNT);
        let what = format!("{receive}, {end}");
        assert_outcomes(&agent, &wire.client, &[(sent, COUNT)], &[("unknown", COUNT)], &what);
        assert_outcomes(&agent, &wire.server, &[(answered, COUNT)], &[(sent, COUNT)], &what);
    }
}
