//! How TLS connections end is counted exactly, however records reach the kernel.

use std::fs;
use std::process::Command;

use tlsclose_tests::child::{Child, run};
use tlsclose_tests::host::on_kernel;
use tlsclose_tests::netns::Netns;
use tlsclose_tests::seconds;
use tlsclose_tests::tls::{Wire, after_data, assert_outcomes, exchange, watching};

type Outcomes = [(&'static str, u64)];

/// Bodies of the records that `tls_wire.py` sends.
const MARKER: &str = "tlsclose-must-never-see-this!";

#[test]
fn every_way_to_send_and_to_read_records_is_followed() {
    if !on_kernel(&["python3"]) {
        return;
    }
    const COUNT: u64 = 20;
    let namespace = Netns::new();
    let agent = watching(&namespace);
    let sends = ["send", "write", "writev", "sendmsg", "sendmmsg", "sendmmsg_full", "bytewise", "starttls"];
    let receives = ["recv", "read", "readv", "recvmsg", "bytewise", "peek", "header_first"];
    let ways = sends.map(|send| (send, "recv")).into_iter().chain(receives.map(|receive| ("sendmsg", receive)));
    for (send, receive) in ways {
        for (end, sent, answered) in [("none", "truncated", "truncated"), ("clean", "clean", "unanswered")] {
            let wire = exchange(&namespace, &["--send", send, "--receive", receive, "--end", end], COUNT);
            let what = format!("{send}, {receive}, {end}");
            assert_outcomes(&agent, &wire.client, &[(sent, COUNT)], &[("unknown", COUNT)], &what);
            assert_outcomes(&agent, &wire.server, &[(answered, COUNT)], &[(sent, COUNT)], &what);
        }
    }
}

#[test]
fn kernel_tls_is_followed_by_its_control_messages() {
    if !on_kernel(&["python3"]) {
        return;
    }
    let protocols = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp").unwrap_or_default();
    if !protocols.split_whitespace().any(|name| name == "tls") {
        // This kernel is built without it. Those in `cargo xtask vm` have it, from 6.1 on.
        return;
    }
    const COUNT: u64 = 5;
    let namespace = Netns::new();
    let agent = watching(&namespace);
    // Before 6.3 what the kernel encrypts passes no hook.
    let has_hook = fs::exists("/sys/kernel/tracing/events/sock/sock_send_length").expect("tracefs");
    let seen = |outcome| if has_hook { outcome } else { "unknown" };
    for (end, sent, answered) in [("none", "truncated", "truncated"), ("clean", "clean", "unanswered")] {
        let wire = exchange(&namespace, &["--send", "kernel", "--end", end], COUNT);
        assert_outcomes(&agent, &wire.client, &[(seen(sent), COUNT)], &[("unknown", COUNT)], end);
        assert_outcomes(&agent, &wire.server, &[(seen(answered), COUNT)], &[(seen(sent), COUNT)], end);
    }
}

#[test]
fn an_end_is_called_what_it_was_and_never_guessed_clean() {
    if !on_kernel(&["python3"]) {
        return;
    }
    const COUNT: u64 = 20;
    const TRUNCATED: &Outcomes = &[("truncated", COUNT)];
    const UNKNOWN: &Outcomes = &[("unknown", COUNT)];
    const CLEAN: &Outcomes = &[("clean", COUNT)];
    const ABORTED: &Outcomes = &[("aborted", COUNT)];
    const UNANSWERED: &Outcomes = &[("unanswered", COUNT)];
    let namespace = Netns::new();
    let agent = watching(&namespace);
    // Of the client: its own direction. Of the server: its own direction, and the client's.
    let cases: [(&[&str], &Outcomes, &Outcomes, &Outcomes); 9] = [
        (&["--end", "padded"], CLEAN, UNANSWERED, CLEAN),
        (&["--end", "could_be_data"], UNKNOWN, UNKNOWN, UNKNOWN),
        (&["--end", "data_after"], TRUNCATED, TRUNCATED, TRUNCATED),
        (&["--end", "half"], TRUNCATED, TRUNCATED, TRUNCATED),
        (&["--end", "reset"], ABORTED, ABORTED, ABORTED),
        // It was read before the reset came, for what it had not read itself.
        (&["--end", "one_shot"], ABORTED, ABORTED, CLEAN),
        // The kernel's own copy passes no memory of the program.
        (&["--send", "sendfile"], UNKNOWN, TRUNCATED, TRUNCATED),
        (&["--receive", "truncate"], TRUNCATED, UNKNOWN, UNKNOWN),
        // More records in one call than are followed.
        (&["--send", "many", "--receive", "header_first"], UNKNOWN, TRUNCATED, TRUNCATED),
    ];
    for (arguments, sent, answered, read) in cases {
        let wire = exchange(&namespace, arguments, COUNT);
        let what = format!("{arguments:?}");
        assert_outcomes(&agent, &wire.client, sent, UNKNOWN, &what);
        assert_outcomes(&agent, &wire.server, answered, read, &what);
    }
}

#[test]
fn who_hangs_up_right_after_sending_data_is_told_from_who_hangs_up_after_reading() {
    if !on_kernel(&["python3"]) {
        return;
    }
    const COUNT: u64 = 10;
    let namespace = Netns::new();
    let agent = watching(&namespace);
    // The client closes when it has read the answer, and the server then: it sent last.
    let wire = exchange(&namespace, &["--end", "none"], COUNT);
    assert_outcomes(&agent, &wire.server, &[("truncated", COUNT)], &[("truncated", COUNT)], "after data");
    assert_eq!([after_data(&agent, &wire.server), after_data(&agent, &wire.client)], [COUNT, 0]);
    // A goodbye is none of the data, and after a while it is no hanging up in the middle.
    for arguments in [["--end", "clean"], ["--linger", "1.5"]] {
        let wire = exchange(&namespace, &arguments, 2);
        agent.wait_for_censuses(2);
        assert_eq!([after_data(&agent, &wire.server), after_data(&agent, &wire.client)], [0, 0], "{arguments:?}");
    }
}

#[test]
fn a_leak_on_tls_says_how_the_goodbye_stands() {
    if !on_kernel(&["python3"]) {
        return;
    }
    let namespace = Netns::new();
    let agent = watching(&namespace);
    for (end, remote, sentence) in [
        ("clean", "said", " On TLS: they sent close_notify and FIN; we answered neither."),
        ("none", "not_said", " On TLS: they sent their FIN without close_notify; we sent neither."),
    ] {
        let wire = Wire::new();
        let arguments = ["--end", end, "--count", "5", "--hold", "60"];
        let mut holder = Child::spawn(&mut wire.command(&namespace, &arguments));
        holder.wait_for_line("holding 5", seconds(20));
        let is_its = |site: &&serde_json::Value| {
            site["processes"].as_array().is_some_and(|all| all.iter().any(|one| one["comm"] == *wire.server))
        };
        let of_server = |report: &serde_json::Value| {
            let sites = report["sites"].as_array().expect("sites");
            sites.iter().find(is_its).filter(|site| site["sockets"] == 5).cloned()
        };
        let report = agent.wait_for("5 sockets", seconds(30), |report| of_server(report).is_some());
        let site = of_server(&report).expect("a site");
        assert_eq!(site["examples"][0]["tls"]["remote"], remote, "{site:#}");
        assert_eq!(site["examples"][0]["tls"]["local"], "not_said", "{site:#}");
        assert!(site["why"].as_str().expect("why").ends_with(sentence), "{site:#}");
    }
}

#[test]
fn nothing_but_headers_leaves_the_memory_of_programs() {
    if !on_kernel(&["python3", "bpftool"]) {
        return;
    }
    let namespace = Netns::new();
    let agent = watching(&namespace);
    let wire = Wire::new();
    // Sockets that stay, so that their entries do.
    let arguments = ["--send", "writev", "--end", "clean", "--count", "30", "--hold", "60"];
    let mut holder = Child::spawn(&mut wire.command(&namespace, &arguments));
    holder.wait_for_line("holding 30", seconds(20));
    agent.wait_for_censuses(2);
    let maps = run(Command::new("bpftool").args(["-j", "map", "show"]), seconds(20));
    let maps: serde_json::Value = serde_json::from_str(&maps.stdout).expect("a list of maps");
    let mut dumped = 0;
    for map in maps.as_array().expect("maps") {
        let name = map["name"].as_str().unwrap_or_default();
        if !name.starts_with("TLS_") {
            continue;
        }
        let id = map["id"].to_string();
        // Of another test, and gone since: nothing to look at.
        let dump = run(Command::new("bpftool").args(["-j", "map", "dump", "id", &id]), seconds(20));
        let Ok(entries) = serde_json::from_str::<serde_json::Value>(&dump.stdout) else { continue };
        let mut bytes = String::new();
        collect(&entries, &mut bytes);
        dumped += usize::from(name == "TLS_SOCKETS" && bytes.len() >= 30 * 80);
        for window in MARKER.as_bytes().windows(4) {
            let text = String::from_utf8_lossy(window);
            assert!(!bytes.contains(&*text), "{text:?} in {name}");
        }
    }
    assert!(dumped > 0, "the sockets' map was not looked at");
    assert_not_in_memory(agent.pid());
}

/// All bytes of a dump, as characters.
fn collect(value: &serde_json::Value, bytes: &mut String) {
    match value {
        serde_json::Value::Array(values) => values.iter().for_each(|value| collect(value, bytes)),
        serde_json::Value::Object(values) => values.values().for_each(|value| collect(value, bytes)),
        serde_json::Value::String(text) => {
            if let Some(byte) = text.strip_prefix("0x").and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                bytes.push(char::from(byte));
            }
        }
        _ => {}
    }
}

/// No writable memory of the process holds the marker.
fn assert_not_in_memory(pid: u32) {
    use std::os::unix::fs::FileExt;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("its mappings");
    let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("its memory");
    let mut looked_at = 0;
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|flags| flags.starts_with("rw"))) {
        let range = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
        let number = |hex| u64::from_str_radix(hex, 16).expect("an address");
        let (start, end) = (number(range.0), number(range.1));
        let mut bytes = vec![0; (end - start).min(64 << 20) as usize];
        // What is reserved and not mapped cannot be read, and holds nothing.
        if memory.read_at(&mut bytes, start).is_err() {
            continue;
        }
        looked_at += bytes.len();
        let found = bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes());
        assert!(!found, "the marker is in {line}");
    }
    assert!(looked_at > 100_000, "hardly any memory was looked at");
}
