//! How TLS connections end is counted exactly, however records reach the kernel.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use tlsclose_tests::child::{Child, run};
use tlsclose_tests::host::needs;
use tlsclose_tests::netns::Netns;
use tlsclose_tests::tls::{
    Wire, after_data, assert_outcomes, exchange, local_outcomes, python, watching, watching_with,
};
use tlsclose_tests::{seconds, wait_for};

type Outcomes = [(&'static str, u64)];

/// Bodies of the records that `tls_wire.py` sends.
const MARKER: &str = "Zq7~vK3!xW9@pJ5#hB2$nM8%tD4";

/// Ways of `tls_wire.py` to hand records to the kernel. Before the last three something is said in clear.
const SENDS: [&str; 11] = [
    "send",
    "write",
    "writev",
    "sendmsg",
    "sendmmsg",
    "sendmmsg_16",
    "sendmmsg_full",
    "bytewise",
    "starttls",
    "proxy",
    "connect",
];

/// Its ways to read them.
const RECEIVES: [&str; 7] = ["recv", "read", "readv", "recvmsg", "bytewise", "peek", "header_first"];

#[test]
fn every_way_to_send_and_to_read_records_is_followed() {
    needs(&["python3"]);
    const COUNT: u64 = 20;
    let namespace = Netns::new();
    let agent = watching(&namespace);
    let sends = SENDS.map(|send| (send, "recv"));
    for (send, receive) in sends.into_iter().chain(RECEIVES.map(|receive| ("sendmsg", receive))) {
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
    needs(&["python3"]);
    if !has_kernel_tls() {
        // Those in `cargo xtask vm` have it, from 6.1 on.
        println!("skipped: this kernel has no TLS of its own");
        return;
    }
    const COUNT: u64 = 5;
    let namespace = Netns::new();
    let agent = watching(&namespace);
    // Before 6.3 what the kernel encrypts passes no hook.
    let has_hook = fs::exists("/sys/kernel/tracing/events/sock/sock_send_length").expect("tracefs");
    let seen = |outcome| if has_hook { outcome } else { "unknown" };
    let truncated = ["none", "fatal"].map(|end| (end, "truncated", "truncated"));
    for (end, sent, answered) in truncated.into_iter().chain([("clean", "clean", "unanswered")]) {
        let wire = exchange(&namespace, &["--send", "kernel", "--end", end], COUNT);
        assert_outcomes(&agent, &wire.client, &[(seen(sent), COUNT)], &[("unknown", COUNT)], end);
        assert_outcomes(&agent, &wire.server, &[(seen(answered), COUNT)], &[(seen(sent), COUNT)], end);
    }
}

/// Whether a socket can be given over to kernel TLS, which the kernel loads where it has it as a module.
fn has_kernel_tls() -> bool {
    // ENOTCONN and its like come from TLS itself.
    let ask = "import errno, socket\n\
               try: socket.socket().setsockopt(socket.SOL_TCP, 31, b'tls')\n\
               except OSError as error: print(errno.errorcode.get(error.errno, error.errno))";
    let answer = run(Command::new(python()).args(["-c", ask]), seconds(20));
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    let protocols = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp").unwrap_or_default();
    let is_there = answer.stdout.trim() != "ENOENT";
    assert_eq!(protocols.split_whitespace().any(|name| name == "tls"), is_there, "{} {protocols}", answer.stdout);
    is_there
}

#[test]
fn an_end_is_called_what_it_was_and_never_guessed_clean() {
    needs(&["python3"]);
    const COUNT: u64 = 20;
    const TRUNCATED: &Outcomes = &[("truncated", COUNT)];
    const UNKNOWN: &Outcomes = &[("unknown", COUNT)];
    const CLEAN: &Outcomes = &[("clean", COUNT)];
    const ABORTED: &Outcomes = &[("aborted", COUNT)];
    const UNANSWERED: &Outcomes = &[("unanswered", COUNT)];
    let namespace = Netns::new();
    let agent = watching(&namespace);
    // Of the client: its own direction. Of the server: its own direction, and the client's.
    let cases: [(&[&str], &Outcomes, &Outcomes, &Outcomes); 12] = [
        (&["--end", "padded"], CLEAN, UNANSWERED, CLEAN),
        (&["--end", "could_be_data"], UNKNOWN, UNKNOWN, UNKNOWN),
        (&["--end", "data_after"], TRUNCATED, TRUNCATED, TRUNCATED),
        (&["--end", "half"], TRUNCATED, TRUNCATED, TRUNCATED),
        (&["--end", "reset"], ABORTED, ABORTED, ABORTED),
        // It was read before the reset came, for what it had not read itself.
        (&["--end", "one_shot"], ABORTED, ABORTED, CLEAN),
        // The kernel's own copy passes no memory of the program.
        (&["--send", "sendfile"], UNKNOWN, TRUNCATED, TRUNCATED),
        (&["--send", "sendmmsg_17"], UNKNOWN, TRUNCATED, TRUNCATED),
        // Whose memory is at hand is another matter there.
        (&["--send", "uring", "--end", "clean"], UNKNOWN, UNANSWERED, CLEAN),
        (&["--receive", "uring", "--end", "clean"], CLEAN, UNKNOWN, UNKNOWN),
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
    needs(&["python3"]);
    const COUNT: u64 = 10;
    let namespace = Netns::new();
    let agent = watching(&namespace);
    // The client closes when it has read the answer, and the server then: it sent last.
    let wire = exchange(&namespace, &["--end", "none"], COUNT);
    let truncated = [("truncated", COUNT)];
    let not_told = assert_outcomes(&agent, &wire.server, &truncated, &truncated, "after data");
    assert_eq!([after_data(&agent, &wire.server), after_data(&agent, &wire.client)], [COUNT - not_told, 0]);
    // A goodbye is none of the data, and after a while it is no hanging up in the middle.
    for arguments in [["--end", "clean"], ["--linger", "1.5"]] {
        let wire = exchange(&namespace, &arguments, 2);
        agent.wait_for_censuses(2);
        assert_eq!([after_data(&agent, &wire.server), after_data(&agent, &wire.client)], [0, 0], "{arguments:?}");
    }
}

#[test]
fn a_leak_on_tls_says_how_the_goodbye_stands() {
    needs(&["python3"]);
    let namespace = Netns::new();
    let agent = watching(&namespace);
    let cases: [(&[&str], _, _, _, _); 4] = [
        (
            &["--end", "clean"],
            "close_wait_eof_read",
            "not_said",
            "said",
            " On TLS: they sent close_notify and FIN; we answered neither.",
        ),
        (
            &["--end", "none"],
            "close_wait_eof_read",
            "not_said",
            "not_said",
            " On TLS: they sent their FIN without close_notify; we sent neither.",
        ),
        (
            &["--half", "--end", "clean"],
            "fin_wait2_held",
            "said",
            "not_said",
            " On TLS: we sent close_notify and FIN; they answered neither.",
        ),
        (
            &["--half", "--end", "none"],
            "fin_wait2_held",
            "not_said",
            "not_said",
            " On TLS: we sent our FIN without close_notify; they sent neither.",
        ),
    ];
    for (end, kind, local, remote, sentence) in cases {
        let wire = Wire::new();
        let arguments = [end, &["--count", "5", "--hold", "60"]].concat();
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
        assert_eq!(site["kind"], kind, "{site:#}");
        assert_eq!(site["examples"][0]["tls"]["remote"], remote, "{site:#}");
        assert_eq!(site["examples"][0]["tls"]["local"], local, "{site:#}");
        assert!(site["why"].as_str().expect("why").ends_with(sentence), "{site:#}");
    }
}

#[test]
fn connections_that_do_not_fit_are_lost_and_not_guessed_at() {
    needs(&["python3"]);
    const COUNT: u64 = 60;
    const FIT: u64 = 16;
    let namespace = Netns::new();
    let agent = watching_with(&namespace, &["--max-sockets=16"]);
    let lost = || agent.metrics().sum("tlsclose_lost_total", &[("reason", "tls_sockets_full")]).unwrap_or(0.0);
    let before = lost();
    // The server keeps its sockets until all have come.
    let wire = Wire::new();
    let arguments = ["--end", "clean", "--hold", "1", "--count", &COUNT.to_string()];
    Child::spawn(&mut wire.command(&namespace, &arguments)).wait_for_line("done", seconds(20));
    // Some of the entries may be those of others on this host.
    wait_for("losses", seconds(10), || (lost() - before >= (COUNT - FIT) as f64).then_some(()));
    agent.wait_for_censuses(2);
    for (comm, outcome) in [(&wire.client, "clean"), (&wire.server, "unanswered")] {
        let counted = local_outcomes(&agent, comm, 0);
        assert!(counted.iter().all(|(counted, _)| counted == outcome), "{comm}: {counted:?}");
    }
    let of_server: u64 = local_outcomes(&agent, &wire.server, 0).iter().map(|(_, count)| count).sum();
    assert!(of_server <= FIT, "{of_server}");
}

#[test]
fn nothing_but_headers_leaves_the_memory_of_programs() {
    needs(&["python3", "bpftool"]);
    let namespace = Netns::new();
    let agent = watching(&namespace);
    let kernel = has_kernel_tls().then_some(("kernel", "recv"));
    let others = [
        ("sendfile", "recv"),
        ("sendmmsg_17", "recv"),
        ("uring", "uring"),
        ("many", "header_first"),
        ("send", "truncate"),
    ];
    let sends = SENDS.map(|send| (send, "recv"));
    let receives = RECEIVES.map(|receive| ("sendmsg", receive));
    let mut holders = Vec::new();
    for (send, receive) in sends.into_iter().chain(receives).chain(others).chain(kernel) {
        // Sockets that stay, so that their entries do.
        let arguments = ["--send", send, "--receive", receive, "--end", "clean", "--count", "3", "--hold", "120"];
        let mut holder = Child::spawn(&mut Wire::new().command(&namespace, &arguments));
        holder.wait_for_line("holding 3", seconds(20));
        holders.push(holder);
    }
    agent.wait_for_censuses(2);
    let mut followed = 0;
    for (name, bytes) in dumps(agent.pid()) {
        if name == "TLS_SOCKETS" {
            followed = bytes.chars().count() / (8 + 80);
        }
        // What is of programs' memory by design: names and such. Four bytes of a body could be there by chance.
        let length = if name.starts_with("TLS_") { 4 } else { 8 };
        for window in MARKER.as_bytes().windows(length) {
            let text = String::from_utf8_lossy(window);
            assert!(!bytes.contains(&*text), "{text:?} in {name}");
        }
    }
    assert!(followed >= 3 * holders.len(), "{followed} entries for {} programs", holders.len());
    assert_not_in_memory(agent.pid());
}

/// The maps of a process's kernel programs but the ring buffers, which are in its own memory.
fn dumps(pid: u32) -> Vec<(String, String)> {
    let list = |of: &str| -> Vec<serde_json::Value> {
        let shown = run(Command::new("bpftool").args(["-j", of, "show"]), seconds(20));
        serde_json::from_str(&shown.stdout).expect("a list")
    };
    let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("its descriptors").flatten();
    let all: String = files.filter_map(|file| fs::read_to_string(file.path()).ok()).collect();
    let of_process: BTreeSet<u64> =
        all.lines().filter_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok()).collect();
    let programs = list("prog");
    let programs = programs.iter().filter(|program| program["id"].as_u64().is_some_and(|id| of_process.contains(&id)));
    let ids: BTreeSet<u64> = programs
        .flat_map(|program| program["map_ids"].as_array().cloned().unwrap_or_default())
        .filter_map(|id| id.as_u64())
        .collect();
    let mut dumps = Vec::new();
    for map in list("map") {
        if !map["id"].as_u64().is_some_and(|id| ids.contains(&id)) || map["type"] == "ringbuf" {
            continue;
        }
        let dump = run(Command::new("bpftool").args(["-j", "map", "dump", "id", &map["id"].to_string()]), seconds(60));
        let entries: serde_json::Value = serde_json::from_str(&dump.stdout).expect("its entries");
        assert!(entries.is_array(), "{map}: {entries}");
        let mut bytes = String::new();
        collect(&entries, &mut bytes);
        dumps.push((map["name"].as_str().unwrap_or_default().to_owned(), bytes));
    }
    assert!(dumps.len() > 30, "{} maps of {of_process:?}", dumps.len());
    dumps
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

/// Neither the writable memory of the process nor the ring buffers that it has mapped hold the marker.
fn assert_not_in_memory(pid: u32) {
    use std::os::unix::fs::FileExt;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("its mappings");
    let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("its memory");
    let (mut looked_at, mut of_rings) = (0, 0);
    let is_ring = |line: &str| line.ends_with("bpf-map");
    let is_writable = |line: &str| line.split(' ').nth(1).is_some_and(|flags| flags.starts_with("rw"));
    for line in maps.lines().filter(|line| is_writable(line) || is_ring(line)) {
        let range = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
        let number = |hex| u64::from_str_radix(hex, 16).expect("an address");
        let (start, end) = (number(range.0), number(range.1));
        let mut bytes = vec![0; (end - start).min(64 << 20) as usize];
        // What is reserved and not mapped cannot be read, and holds nothing.
        if memory.read_at(&mut bytes, start).is_err() {
            continue;
        }
        looked_at += bytes.len();
        of_rings += if is_ring(line) { bytes.len() } else { 0 };
        let found = bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes());
        assert!(!found, "the marker is in {line}");
    }
    assert!(looked_at - of_rings > 100_000 && of_rings > 1 << 20, "hardly any memory was looked at");
}
