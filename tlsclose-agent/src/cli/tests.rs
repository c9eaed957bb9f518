use std::time::Duration;

use clap::CommandFactory;

use super::*;
use crate::cli::agent::Switch;
use crate::cli::leaks::FailOn;
use tlsclose_core::model::{Kind, Status};

fn usage(line: &str) -> String {
    match parse(line.split(' ')) {
        Err(Stop::Usage(message)) => message,
        other => panic!("{line}: {other:?}"),
    }
}

fn agent(line: &str) -> AgentArgs {
    match parse(line.split(' ')).map(|cli| cli.command) {
        Ok(Command::Agent(args)) => *args,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn the_agents_defaults_are_those_of_the_contract() {
    let args = agent("tlsclose agent");
    assert_eq!(args.web.listen_address.to_string(), "127.0.0.1:9988");
    assert_eq!(args.web.telemetry_path, "/metrics");
    assert_eq!(args.web.details, Switch::Off);
    assert_eq!(args.web.socket.to_str(), Some("/run/tlsclose/agent.sock"));
    assert_eq!(args.watch.leak_after, Duration::from_secs(60));
    assert_eq!(args.watch.leak_window(), Duration::from_secs(600));
    assert_eq!(args.watch.census_interval, Duration::from_secs(5));
    assert_eq!((args.bounds.max_sites, args.bounds.max_series), (200, 5000));
    assert_eq!(args.bounds.max_stacks_per_second, 1000);
    assert_eq!(args.bounds.max_stack_copies_per_second, 100);
    assert_eq!(args.places.procfs.to_str(), Some("/proc"));
    assert_eq!(args.places.cgroupfs.to_str(), Some("/sys/fs/cgroup"));
}

#[test]
fn every_command_that_looks_at_the_host_is_told_where_it_is() {
    let given = "--procfs /host/proc --cgroupfs /host/sys/fs/cgroup";
    for command in ["agent", "leaks --standalone", "doctor"] {
        let line = format!("tlsclose {command} {given}");
        let places = match parse(line.split(' ')).map(|cli| cli.command) {
            Ok(Command::Agent(args)) => args.places,
            Ok(Command::Leaks(args)) => args.places,
            Ok(Command::Doctor(args)) => args.places,
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(places.procfs.to_str(), Some("/host/proc"), "{line}");
        assert_eq!(places.cgroupfs.to_str(), Some("/host/sys/fs/cgroup"), "{line}");
    }
}

#[test]
fn the_window_is_ten_times_leak_after_and_at_least_five_minutes() {
    let cases = [
        ("tlsclose agent --leak-after 10s", 300),
        ("tlsclose agent --leak-after 5m", 3000),
        ("tlsclose agent --leak-after 5m --leak-window 1m", 60),
    ];
    for (line, seconds) in cases {
        assert_eq!(agent(line).watch.leak_window(), Duration::from_secs(seconds), "{line}");
    }
}

#[test]
fn every_flag_of_the_agent_reads_the_environment() {
    let command = Cli::command();
    let agent = command.find_subcommand("agent").unwrap();
    for flag in agent.get_arguments().filter(|flag| flag.get_id() != "help") {
        let name = flag.get_long().unwrap();
        let expected = format!("TLSCLOSE_{}", name.to_uppercase().replace(['.', '-'], "_"));
        let env = flag.get_env().unwrap_or_else(|| panic!("--{name} reads nothing"));
        assert_eq!(env.to_str(), Some(expected.as_str()), "--{name}");
    }
}

#[test]
fn wrong_usage_is_one_line_that_says_what_is_wrong() {
    let cases = [
        ("tlsclose", "error: a command is missing: agent, leaks, top, states, doctor or explain (see --help)"),
        (
            "tlsclose agent --leak-after 0",
            "error: invalid value '0' for '--leak-after <DURATION>': must be longer than 0 (see --help)",
        ),
        (
            "tlsclose agent --leak-after 5",
            "error: invalid value '5' for '--leak-after <DURATION>': the unit is missing: write it like 500ms, 3s, 5m or 1h30m (see --help)",
        ),
        (
            "tlsclose agent --max-sites 0",
            "error: invalid value '0' for '--max-sites <N>': 0 is not in 1..=100000 (see --help)",
        ),
        (
            "tlsclose agent --web.listen-address 9988",
            "error: invalid value '9988' for '--web.listen-address <ADDRESS>': write it like 127.0.0.1:9988, [::1]:9988 or :9988 (see --help)",
        ),
        (
            "tlsclose agent --web.telemetry-path metrics",
            "error: invalid value 'metrics' for '--web.telemetry-path <PATH>': must begin with / and hold letters, digits, and / _ - . only (see --help)",
        ),
        (
            "tlsclose agent --web.telemetry-path /healthz",
            "error: invalid value '/healthz' for '--web.telemetry-path <PATH>': is taken by the API (see --help)",
        ),
        (
            "tlsclose leaks --standalone --agent http://a",
            "error: the argument '--standalone' cannot be used with '--agent <URL>' (see --help)",
        ),
        ("tlsclose leaks -p 0", "error: invalid value '0' for '--pid <PID>': 0 is not in 1..=4294967295 (see --help)"),
        (
            "tlsclose explain close_wait",
            "error: invalid value 'close_wait' for '<KIND>': unknown kind: the kinds are close_wait_eof_read, close_wait_unread, fin_wait2_held, reset_held, connect_failed_held, close_wait_not_accepted, close_wait_shared_fd, aborted_close, half_open, tls_truncated (see --help)",
        ),
        ("tlsclose explain", "error: the following required arguments were not provided: <KIND> (see --help)"),
        ("tlsclose states -4 -6", "error: the argument '--ipv4' cannot be used with '--ipv6' (see --help)"),
    ];
    for (line, expected) in cases {
        assert_eq!(usage(line), expected, "{line}");
    }
}

#[test]
fn help_teaches_with_examples() {
    for line in ["tlsclose --help", "tlsclose agent --help", "tlsclose leaks --help", "tlsclose states --help"] {
        match parse(line.split(' ')) {
            Err(Stop::Help(text)) => assert!(text.contains("Examples:"), "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn the_symbolizer_is_hidden() {
    let Err(Stop::Help(text)) = parse(["tlsclose", "--help"]) else {
        panic!("no help");
    };
    assert!(!text.contains("symbolize"));
    assert!(matches!(parse(["tlsclose", "symbolize"]).map(|cli| cli.command), Ok(Command::Symbolize)));
}

#[test]
fn states_takes_the_flags_of_tcpstates() {
    let Ok(Command::States(args)) =
        parse("tlsclose states -Tw -4 -p 7 -c nginx -L 80,443 -D 9".split(' ')).map(|cli| cli.command)
    else {
        panic!("not states");
    };
    assert!(args.time && args.wide && args.ipv4 && !args.ipv6);
    assert_eq!((args.pid, args.comm.as_deref()), (Some(7), Some("nginx")));
    assert_eq!((args.localport, args.remoteport), (vec![80, 443], vec![9]));
}

#[test]
fn leaks_selects_and_fails_on_what_it_is_asked_for() {
    let line = "tlsclose leaks --kind reset_held -p 7 -c app --namespace shop --site 9f -T 3 --fail-on leaking";
    let Ok(Command::Leaks(args)) = parse(line.split(' ')).map(|cli| cli.command) else {
        panic!("not leaks");
    };
    let filter = args.select.filter();
    assert_eq!((filter.kind, filter.pid), (Some(Kind::ResetHeld), Some(7)));
    assert_eq!(args.select.limit(), Some(3));
    let fail_on = args.fail_on.unwrap();
    assert!(fail_on.is_met_by(Status::Leaking) && !fail_on.is_met_by(Status::Lingering));
    assert!(FailOn::Lingering.is_met_by(Status::Lingering) && FailOn::Lingering.is_met_by(Status::Leaking));
}
