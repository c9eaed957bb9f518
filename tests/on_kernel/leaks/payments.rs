//! The whole story: a handler that hangs up below TLS, behind a proxy that keeps its ends.

use std::fs;

use serde_json::Value;
use tlsclose_tests::child::Child;
use tlsclose_tests::host::{needs, unique_comm};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{frames_in, function, marked_line, sites_of, sockets_of};
use tlsclose_tests::seconds;
use tlsclose_tests::tls::{
    Certificate, after_data, assert_outcomes, python, python_program, wait_for_tls_site, watching,
};

const COUNT: u64 = 40;

#[test]
fn a_handler_that_hangs_up_below_tls_and_its_proxys_half_closed_sockets_are_named() {
    needs(&["python3", "openssl"]);
    let certificate = Certificate::new();
    let namespace = Netns::new();
    let agent = watching(&namespace);
    let (handler, proxy) = (unique_comm(), unique_comm());
    let script = python_program("payments.py");
    let mut command = namespace.command(python());
    command.arg(&script).args(["--handler", &handler, "--proxy", &proxy, "--count", &COUNT.to_string()]);
    let mut payments = Child::spawn(command.arg("--certificate").arg(certificate.both()));
    payments.wait_for_line("paid ", seconds(60));
    let pid: u32 = payments.wait_for_line("proxy ", seconds(1)).parse().expect("a PID");

    // The handler: who, how often, and in which line.
    let outcomes = [("truncated", COUNT)];
    assert_outcomes(&agent, &handler, &outcomes, &[("unknown", COUNT)], "the handler");
    let site = wait_for_tls_site(&agent, &handler);
    let stack = frames_in(&site["closed"]["stack"], "payments.py");
    let frame = *stack.first().unwrap_or_else(|| panic!("no frame of its own: {site:#}"));
    let line = marked_line(&fs::read_to_string(&script).expect("the program"), "payments closed");
    assert_eq!((function(frame), &frame["line"]), ("pay", &Value::from(line)), "{site:#}");
    assert_eq!((&site["kind"], &site["share"]), (&"tls_truncated".into(), &1.0.into()), "{site:#}");
    assert_eq!((&site["after_data"], after_data(&agent, &handler)), (&site["closes"], COUNT), "{site:#}");
    assert!(site["per_minute"].as_f64().is_some_and(|rate| rate > 0.0), "{site:#}");

    // The proxy: which sockets that left behind.
    let report = agent.wait_for("the proxy's sockets", seconds(30), |report| sockets_of(report, pid) == COUNT);
    let mut named = 0;
    for site in sites_of(&report, pid) {
        // Its end may come in one segment with the answer, and is then read with it.
        let kind = site["kind"].as_str();
        assert!(matches!(kind, Some("close_wait_unread" | "close_wait_eof_read")), "{site:#}");
        assert_eq!(site["processes"][0]["comm"], *proxy, "{site:#}");
        let why = site["why"].as_str().expect("why");
        assert!(why.ends_with(" On TLS: they sent their FIN without close_notify; we sent neither."), "{why}");
        // The first may have come before the process was known as one of Python.
        if site["site"] != "unsampled" {
            let opened = frames_in(&site["opened"]["stack"], "payments.py");
            assert_eq!(opened.first().map(|frame| function(frame)), Some("forward"), "{site:#}");
            named += site["sockets"].as_u64().expect("a number");
        }
    }
    assert!(named >= COUNT / 2, "{named} of {COUNT} have a code path");
}
