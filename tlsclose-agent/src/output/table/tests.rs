use super::*;
use crate::api::{ClosedElsewhere, Incomplete, Spinning};
use crate::output::{filter::Sort, sample};
use tlsclose_core::model::Frame;

const PLAIN: Layout = Layout { wide: false, colour: Colour::Off, sort: Sort::Count, top: None };

#[test]
fn a_site_is_a_block_of_code_paths() {
    assert_eq!(
        leaks(&sample::report(), &PLAIN),
        "\
LEAKING close_wait_eof_read  412 sockets  +4.1/min  oldest 30m33s  payments[4117] /srv/payments  shop/payments-6d8/api  site 9f2c41d0a7be
  descriptors of 4117  1870 of 4096, none left in 9h03m
  command  /srv/payments --key=secret
  opened by accept4
    accept_loop  src/server.rs:88
    main         src/main.rs:12
  last touched by read = 0, 29m50s ago
    handle_request  src/server.rs:131
  last sent by (17 sockets)
    respond  src/server.rs:140
    … (cut)
  usually closed by (9700 sockets)
    finish  src/server.rs:160
  examples
    10.0.0.4:8443 -> 10.0.9.1:51234  close_wait  30m33s  payments[4117] fd 211
    10.0.0.4:8443 -> 10.0.9.2:51235  close_wait  28m20s  payments[4117] fd 212
    10.0.0.4:8443 -> 10.0.9.3:51236  close_wait  15m00s  payments[4117] fd 213
    and 1 more
  why  Peer closed; read returned 0 in handle_request (src/server.rs:131) and no close followed.
  fix  Close the connection when read returns 0.

LINGERING fin_wait2_held  2 sockets  +0.0/min  oldest at least 5h02m  drain[900] /usr/bin/drain  site 00aa11bb22cc
  descriptors of 900  1870 of 4096, none left in 9h03m
  opened by ?
  last touched by ?
  why  The program ended its side.
  fix  Bound the drain.

414 lingering sockets at 2 sites, 1 leaking (watching node-7 since 2026-11-20T18:00:00Z, 30112 descriptors)
"
    );
}

#[test]
fn wide_shows_modules_builds_and_every_example() {
    let mut report = sample::report();
    report.sites.truncate(1);
    let text = leaks(&report, &Layout { wide: true, ..PLAIN });
    for line in [
        "    accept_loop  src/server.rs:88  /srv/payments+0x1f3a0  [4c1f]\n",
        "    10.0.0.4:8443 -> 10.0.9.4:51237  close_wait  1m00s  payments[4117] fd 214\n",
        "  builds   gnu:4c1f\n",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    assert!(!text.contains("more"));
}

#[test]
fn what_is_cut_off_is_said() {
    let text = leaks(&sample::report(), &Layout { top: Some(1), sort: Sort::Age, ..PLAIN });
    assert!(text.starts_with("LINGERING fin_wait2_held"), "{text}");
    assert!(text.contains("\n(1 more site not shown)\n414 lingering sockets at 2 sites"), "{text}");
}

#[test]
fn nothing_found_is_said_with_what_was_looked_at() {
    let mut report = sample::report();
    report.sites.clear();
    assert_eq!(
        leaks(&report, &PLAIN),
        "no lingering sockets (watching node-7 since 2026-11-20T18:00:00Z, 30112 descriptors)\n"
    );
    report.complete = false;
    report.incomplete = vec![Incomplete::SocketsLost, Incomplete::AcceptQueueCut];
    let text = leaks(&report, &PLAIN);
    let reasons = "sockets did not fit into the agent's tables (--max-sockets); an accept queue holds more given-up \
                   connections than are counted one by one";
    assert!(text.ends_with(&format!("\ncounts may be off: {reasons}\n")), "{text}");
}

#[test]
fn frames_show_the_best_that_is_known() {
    let known = sample::frame("handle", "src/a.rs", 7);
    let mut inlined = sample::frame("next", "src/b.rs", 9);
    inlined.inlined = true;
    let mut no_source = known.clone();
    no_source.file = None;
    let mut unnamed = no_source.clone();
    unnamed.function = None;
    let long = sample::frame(&"x".repeat(60), "src/c.rs", 1);
    let mut text = String::new();
    let stack = [inlined, known, no_source, unnamed, Frame::default(), long];
    stack::section(&mut text, "stack", &stack, &PLAIN);
    assert_eq!(
        text,
        format!(
            "  stack
    next (inlined)  src/b.rs:9
    handle          src/a.rs:7
    handle          /srv/payments+0x1f3a0
    ?               /srv/payments+0x1f3a0
    ?
    {}  src/c.rs:1
",
            "x".repeat(60)
        )
    );
}

#[test]
fn what_else_is_known_has_a_section() {
    let mut report = sample::report();
    report.sites.truncate(1);
    let site = &mut report.sites[0];
    site.closed_elsewhere = Some(ClosedElsewhere { pid: 7, comm: "child".to_owned(), stack: vec![] });
    site.spinning = Some(Spinning {
        pid: 7,
        tid: Some(9),
        call: "read".to_owned(),
        per_second: 1500.4,
        stack: vec![sample::frame("poll", "src/p.rs", 1)],
    });
    let mut second = site.processes[0].clone();
    second.emfile_errors = 1;
    second.sockets = 1;
    site.processes = vec![second; 5];
    site.examples[0].recv_queue = 5;
    let text = leaks(&report, &PLAIN);
    for lines in [
        "  held by\n    payments[4117] /srv/payments  1 socket\n",
        "    and 2 more\n",
        ", none left in 9h03m, 1 failed call (EMFILE)\n",
        "  closed in vain by child[7]\n    (no stack)\n",
        "  spinning in thread 9 of 7, read 1500/s\n    poll  src/p.rs:1\n",
        "fd 211  unread 5 unsent 0\n",
    ] {
        assert!(text.contains(lines), "{lines} in\n{text}");
    }
}

#[test]
fn where_nothing_can_be_opened_it_says_how_to_see_the_line() {
    let mut report = sample::report();
    report.sites.truncate(1);
    let site = &mut report.sites[0];
    (site.processes[0].max_fds, site.processes[0].fds_exhausted_in_seconds) = (Some(1024), Some(0.0));
    let advice = "prlimit --pid 4117 --nofile=2048\n";
    assert!(!leaks(&report, &PLAIN).contains(advice), "the line is known");
    report.sites[0].opened = None;
    let text = leaks(&report, &PLAIN);
    assert!(text.contains("  opened by ?\n    At its limit 4117 opens nothing. ") && text.contains(advice), "{text}");
    report.sites[0].processes[0].fds_exhausted_in_seconds = Some(60.0);
    assert!(!leaks(&report, &PLAIN).contains(advice), "it will open more by itself");
}

#[test]
fn hostile_names_do_not_reach_the_terminal() {
    let mut report = sample::report();
    let hostile = "a\x1b[2J\nb\u{202e}".to_owned();
    let site = &mut report.sites[0];
    site.processes[0].comm = hostile.clone();
    site.processes[0].exe = hostile.clone();
    site.processes[0].cmdline = Some(vec![hostile.clone()]);
    site.examples[0].holders[0].comm = hostile.clone();
    site.why = hostile.clone();
    site.opened.as_mut().unwrap().stack[0] = sample::frame(&hostile, &hostile, 1);
    report.host = hostile;
    for wide in [false, true] {
        let text = leaks(&report, &Layout { wide, ..PLAIN });
        assert!(!text.contains(['\x1b', '\u{202e}']), "{text}");
        assert!(text.contains("a\\u{1b}[2J\\nb\\u{202e}[4117]"), "{text}");
    }
}

#[test]
fn colour_is_only_there_when_asked_for() {
    let text = leaks(&sample::report(), &Layout { colour: Colour::On, ..PLAIN });
    assert!(text.starts_with("\x1b[1;31mLEAKING\x1b[0m close_wait_eof_read"), "{text}");
    assert!(!leaks(&sample::report(), &PLAIN).contains('\x1b'));
}

#[test]
fn no_growth_has_no_negative_zero() {
    let mut report = sample::report();
    report.sites[1].per_minute = Some(-0.0);
    report.sites[0].per_minute = Some(-0.04);
    let text = leaks(&report, &PLAIN);
    assert!(text.contains("+0.0/min") && !text.contains("-0.0/min"), "{text}");
}

#[test]
fn a_rate_that_nobody_knows_yet_is_said_so() {
    let mut report = sample::report();
    report.sites[0].per_minute = None;
    let text = leaks(&report, &PLAIN);
    assert!(text.contains("  rate not known yet  "), "{text}");
}

#[test]
fn code_paths_on_tls_have_counts_a_rate_and_a_share() {
    let mut report = sample::report();
    report.tls_sites = vec![sample::truncating()];
    assert!(
        leaks(&report, &PLAIN)
            .ends_with("\n1 code path ends TLS connections without a goodbye: --kind tls_truncated\n")
    );
    assert_eq!(
        tls::sites(&report, &PLAIN),
        "\
tls_truncated  37 of 40 closes (92.5 %)  7.4/min  payments[4117] /srv/payments  site 5a1e00c0ffee
  clean 3  truncated 37 (12 after the peer's FIN)  unanswered 0  aborted 0  unknown 0
  closed by close
    hang_up  src/server.rs:140
  why  37 of 40 TLS connections were closed by close in hang_up (src/server.rs:140) without a close_notify, 30 of them right after the program had sent data: the peer cannot tell the end from a truncation.
  fix  End the session.

37 TLS connections closed without a goodbye at 1 site (watching node-7 since 2026-11-20T18:00:00Z)
"
    );
    report.tls_sites.clear();
    assert_eq!(
        tls::sites(&report, &PLAIN),
        "no TLS connection closed without a goodbye (watching node-7 since 2026-11-20T18:00:00Z)\n"
    );
}
