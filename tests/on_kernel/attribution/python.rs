//! Python programs are found by their own functions, files and lines.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::child::Child;
use tlsclose_tests::host::{needs, root};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{frames_in, function, line_in, list, process_of, sites_of, sockets_of};
use tlsclose_tests::{seconds, wait_for};

const SOURCE: &str = "tests/leaky/python/leaky.py";

/// Debian's; in PATH there may be a script that only looks like one.
fn python() -> PathBuf {
    PathBuf::from("/usr/bin/python3")
}

fn script() -> PathBuf {
    root().join(SOURCE)
}

fn line(marker: &str) -> u64 {
    line_in(SOURCE, marker)
}

fn start(namespace: &Netns, interpreter: &Path, arguments: &[&str]) -> Child {
    let mut command = namespace.command(interpreter);
    // No cache of compiled modules may be left in the repository.
    Child::spawn(command.arg("-B").arg(script()).args(arguments))
}

/// The same until it has leaked: the stacks of many at once are more than a busy machine can take.
fn start_and_leak(namespace: &Netns, interpreter: &Path, arguments: &[&str]) -> Child {
    let mut child = start(namespace, interpreter, arguments);
    child.wait_for_line("ready ", seconds(30));
    child
}

/// The one site of a process whose sockets all linger.
fn site_of(agent: &Agent, child: &mut Child) -> Value {
    let sockets: u64 = child.wait_for_line("ready ", seconds(30)).parse().expect("a number");
    let sites = sites_with(agent, child.pid(), sockets);
    let [site] = &sites[..] else { panic!("{} sites: {sites:#?}", sites.len()) };
    site.clone()
}

fn sites_with(agent: &Agent, pid: u32, sockets: u64) -> Vec<Value> {
    let what = format!("{sockets} sockets of {pid}");
    agent.wait_for(&what, seconds(20), |report| sockets_of(report, pid) >= sockets);
    agent.wait_for_censuses(2);
    let report = agent.leaks();
    assert_eq!(sockets_of(&report, pid), sockets, "{report:#}");
    sites_of(&report, pid).into_iter().cloned().collect()
}

/// The frames of the program's own file in a touch, as (function, line), innermost first.
fn own_frames(touch: &Value) -> Vec<(&str, u64)> {
    let frames = frames_in(&touch["stack"], SOURCE);
    frames.into_iter().map(|frame| (function(frame), frame["line"].as_u64().unwrap_or(0))).collect()
}

/// The stack begins in libc, goes on in Python, and shows nothing of the interpreter.
fn assert_is_python(touch: &Value) {
    let mut frames = list(&touch["stack"]);
    assert_eq!(touch["whole"], true, "{touch:#}");
    let leaf = frames.next().unwrap_or_else(|| panic!("no frames: {touch:#}"));
    assert!(leaf["module"].as_str().is_some_and(|module| module.contains("libc")), "{touch:#}");
    for frame in frames {
        assert!(frame["module"].is_null() && !frame["function"].is_null() && !frame["line"].is_null(), "{touch:#}");
    }
}

/// Functions of a class have its name before them since 3.11.
fn method(class: &str, name: &str, interpreter: &str) -> String {
    let qualified = !["3.8", "3.9", "3.10"].iter().any(|old| interpreter.ends_with(old));
    if qualified { format!("{class}.{name}") } else { name.to_owned() }
}

fn assert_names_server(site: &Value, pid: u32, is_threaded: bool) {
    let exe = process_of(site, pid).expect("its process")["exe"].as_str().expect("a path").to_owned();
    let method = |name| method("EofForget", name, &exe);
    assert_eq!(site["kind"], "close_wait_eof_read", "{site:#}");
    let inner = [("opened", method("accept"), method("serve")), ("touched", method("handle"), method("serve"))];
    for (touch, innermost, caller) in inner {
        assert_is_python(&site[touch]);
        let lines = (line(&format!("eof_forget {touch}")), line(&format!("eof_forget {touch} caller")));
        let found = own_frames(&site[touch]);
        assert_eq!(found[..2], [(&*innermost, lines.0), (&*caller, lines.1)], "{exe}: {site:#}");
        let outer: Vec<&str> = found[2..].iter().map(|(function, _)| *function).collect();
        let expected: &[&str] = if is_threaded { &[] } else { &["by_threads", "main", "<module>"] };
        assert_eq!(outer, expected, "{exe}: {site:#}");
    }
    let why = site["why"].as_str().expect("text");
    assert!(why.contains(&format!("leaky.py:{})", line("eof_forget touched"))), "{why}");
}

#[test]
fn a_python_server_is_named_to_the_line() {
    needs(&["python3"]);
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let mut child = start(&namespace, &python(), &["eof_forget", "--for", "40"]);
    let site = site_of(&agent, &mut child);
    assert_names_server(&site, child.pid(), false);
}

#[test]
fn a_python_server_with_threads_is_named_to_the_line() {
    needs(&["python3"]);
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let mut child = start(&namespace, &python(), &["eof_forget", "--threads", "3", "--for", "40"]);
    let site = site_of(&agent, &mut child);
    assert_names_server(&site, child.pid(), true);
}

/// What is known of the parent holds for the worker, from its first connection on.
#[test]
fn a_forked_worker_is_named_from_its_first_connection_on() {
    needs(&["python3"]);
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let mut child = start(&namespace, &python(), &["prefork", "--rate", "1000", "--for", "40"]);
    let worker: u32 = child.wait_for_line("worker ", seconds(30)).parse().expect("a PID");
    let sites = sites_with(&agent, worker, 6);
    let [site] = &sites[..] else { panic!("{sites:#?}") };
    assert_eq!(site["stack_samples"], 6, "{site:#}");
    let expected = ("EofForget.accept", line("eof_forget opened"));
    assert_eq!(own_frames(&site["opened"])[0], expected, "{site:#}");
}

#[test]
fn a_python_client_is_named_to_the_line() {
    needs(&["python3"]);
    let (namespace, agent) = (Netns::new(), Agent::shared());
    for threads in ["0", "2"] {
        let mut child = start(&namespace, &python(), &["client_half_close", "--threads", threads, "--for", "40"]);
        let site = site_of(&agent, &mut child);
        assert_eq!(site["kind"], "fin_wait2_held", "{site:#}");
        for (touch, innermost) in [("opened", "ClientHalfClose.connect"), ("touched", "ClientHalfClose.finish")] {
            assert_is_python(&site[touch]);
            let lines = ["", " caller"].map(|which| line(&format!("client_half_close {touch}{which}")));
            let expected = [(innermost, lines[0]), ("ClientHalfClose.connect_all", lines[1])];
            assert_eq!(own_frames(&site[touch])[..2], expected, "{site:#}");
        }
    }
}

/// A coroutine that connects or sends runs, with those that wait for it, on the stack.
#[test]
fn a_coroutine_that_connects_is_named_to_the_line() {
    needs(&["python3"]);
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let start = |program: PathBuf| start_and_leak(&namespace, &program, &["asyncio", "--for", "60"]);
    let mut children: Vec<Child> = known().map(start).collect();
    for child in &mut children {
        let site = site_of(&agent, child);
        for (touch, innermost) in [("opened", "aio_connect"), ("touched", "aio_finish")] {
            assert_is_python(&site[touch]);
            let lines = ["", " caller"].map(|which| line(&format!("asyncio {touch}{which}")));
            let expected = [(innermost, lines[0]), ("aio_connect_all", lines[1])];
            assert_eq!(own_frames(&site[touch])[..2], expected, "{site:#}");
        }
    }
}

/// The event loop accepts and reads for its coroutines: it is what the stack shows. They send by themselves.
#[test]
fn an_asyncio_server_is_named_by_its_event_loop() {
    needs(&["python3"]);
    let (namespace, agent) = (Netns::new(), Agent::shared());
    // What a program sends is sampled once one of its sockets lingers.
    let arguments = ["asyncio_server", "--count", "24", "--rate", "3", "--for", "60"];
    let start = |program: PathBuf| start(&namespace, &program, &arguments);
    let mut children: Vec<Child> = known().map(start).collect();
    for child in &mut children {
        let site = site_of(&agent, child);
        for (touch, handler) in [("opened", "_accept_connection"), ("touched", "_read_ready")] {
            assert_is_python(&site[touch]);
            let in_loop = list(&site[touch]["stack"]).any(|frame| function(frame).ends_with(handler));
            assert!(in_loop, "{site:#}");
            assert_eq!(own_frames(&site[touch])[0], ("main", line("asyncio_server loop")), "{site:#}");
        }
        let sent: Vec<(&str, u64)> = list(&site["last_sent"]).map(|sent| own_frames(sent)[0]).collect();
        let coroutines =
            [("aio_handle", line("asyncio_server sent")), ("aio_handle_rarely", line("asyncio_server sent elsewhere"))];
        assert_eq!(sent, coroutines, "{site:#}");
    }
}

/// Of a very deep stack the innermost frames are there, and it is said that others are not.
#[test]
fn a_deep_recursion_is_cut_and_says_so() {
    needs(&["python3"]);
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let mut child = start(&namespace, &python(), &["deep", "--for", "40"]);
    let site = site_of(&agent, &mut child);
    assert_eq!(site["opened"]["whole"], false, "{site:#}");
    let again = ("dive", line("deep opened caller"));
    // However deep, recursion is shown twice.
    assert_eq!(own_frames(&site["opened"]), [("dive", line("deep opened")), again, again], "{site:#}");
}

/// Code objects that are freed after each call, so that the next one lies at the same address.
#[test]
fn functions_made_at_run_time_keep_their_names_and_lines() {
    needs(&["python3"]);
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let mut child = start(&namespace, &python(), &["generated", "--count", "30", "--rate", "50", "--for", "40"]);
    let addresses: u64 = child.wait_for_line("addresses ", seconds(30)).parse().expect("a number");
    assert!(addresses < 3, "the code objects lie at {addresses} addresses, so nothing is proved");
    let sites = sites_with(&agent, child.pid(), 30);
    let mut found = Vec::new();
    for site in &sites {
        let frame = *frames_in(&site["opened"]["stack"], "generated.py").first().unwrap_or_else(|| panic!("{site:#}"));
        let line = frame["line"].as_u64().expect("a line");
        assert_eq!(function(frame), format!("at_{line}"), "{site:#}");
        found.push(line);
    }
    found.sort_unstable();
    assert_eq!(found, [3, 40, 300], "one site for each function: {sites:#?}");
}

/// Every CPython that pyenv has installed, as `3.X` and the path.
fn installed() -> Vec<(String, PathBuf)> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv"));
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from).or(home);
    let versions = root.and_then(|root| std::fs::read_dir(root.join("versions")).ok()).into_iter().flatten().flatten();
    let found = versions.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let version = name.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
        let program = entry.path().join(format!("bin/python{version}"));
        program.is_file().then_some((version, program))
    });
    found.collect()
}

/// Those of a version that is known, and Debian's.
fn known() -> impl Iterator<Item = PathBuf> {
    const KNOWN: [&str; 7] = ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14"];
    let known = installed().into_iter().filter(|(version, _)| KNOWN.contains(&&**version));
    known.map(|(_, program)| program).chain([python()])
}

#[test]
fn every_installed_python_is_named_to_the_line() {
    needs(&["python3"]);
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let arguments = ["eof_forget", "--for", "60", "--threads", "2"];
    let start = |program: PathBuf| start_and_leak(&namespace, &program, &arguments);
    let mut children: Vec<Child> = known().map(start).collect();
    for child in &mut children {
        let site = site_of(&agent, child);
        assert_names_server(&site, child.pid(), true);
    }
}

/// Nobody can ask its interpreter any more when its sockets begin to linger.
#[test]
fn a_python_server_that_ended_is_named_to_the_line() {
    needs(&["python3"]);
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let arguments = ["eof_forget", "--rate", "10", "--for", "60", "--hand-over"];
    let mut children: Vec<Child> = known().map(|program| start(&namespace, &program, &arguments)).collect();
    for child in &mut children {
        let heir: u32 = child.wait_for_line("heir ", seconds(20)).parse().expect("a PID");
        assert!(child.wait(seconds(5)).is_some(), "{heir}'s parent stays");
        // The heir says it, when its parent has ended.
        let ready = || child.stdout().lines().find_map(|line| line.strip_prefix("ready ")?.trim().parse::<u64>().ok());
        let sites = sites_with(&agent, heir, wait_for("the heir to be ready", seconds(20), ready));
        let [site] = &sites[..] else { panic!("{} sites: {sites:#?}", sites.len()) };
        assert_names_server(site, heir, false);
    }
}

/// `-X perf` puts code of its own between the interpreter's functions, and names it in a map.
#[test]
fn a_python_that_writes_a_perf_map_is_named_to_the_line_all_the_same() {
    needs(&["python3"]);
    let Some((_, program)) = installed().into_iter().find(|(version, _)| version == "3.12") else {
        println!("skipped: pyenv has no Python 3.12");
        return;
    };
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let mut command = namespace.command(program);
    command.args(["-X", "perf", "-B"]).arg(script()).args(["eof_forget", "--for", "40"]);
    let mut child = Child::spawn(&mut command);
    let site = site_of(&agent, &mut child);
    let map = format!("/tmp/perf-{}.map", child.pid());
    assert!(std::fs::read_to_string(&map).expect("its map").contains("py::EofForget.accept"));
    std::fs::remove_file(&map).expect("its map");
    assert_names_server(&site, child.pid(), false);
}

/// 3.7 is not supported: its stacks stay native, and the agent says so.
#[test]
fn an_interpreter_that_is_not_known_is_reported_as_such() {
    needs(&["python3"]);
    let Some((_, program)) = installed().into_iter().find(|(version, _)| version == "3.7") else {
        println!("skipped: pyenv has no Python 3.7");
        return;
    };
    let (namespace, agent) = (Netns::new(), Agent::start());
    let mut child = start(&namespace, &program, &["eof_forget", "--for", "40"]);
    let site = site_of(&agent, &mut child);
    for touch in ["opened", "touched"] {
        assert_eq!(own_frames(&site[touch]), [], "{site:#}");
    }
    let doctor = agent.get("/api/v1/doctor").json();
    let feature = list(&doctor["features"]).find(|feature| feature["name"] == "python_frames").expect("the feature");
    assert_eq!(feature["available"], false, "{feature:#}");
    assert!(feature["probe"].as_str().is_some_and(|probe| probe.contains("python3.7")), "{feature:#}");
}
