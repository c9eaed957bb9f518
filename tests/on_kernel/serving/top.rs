//! `tlsclose top`, in a real terminal.

use std::process::Command;

use tlsclose_tests::agent::{Agent, tlsclose_command};
use tlsclose_tests::child::run;
use tlsclose_tests::expect::wait_for_site;
use tlsclose_tests::host::{needs, tlsclose};
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::tmux::Tmux;
use tlsclose_tests::{seconds, wait_for};

use crate::agent_and_leak;

fn top(agent: &Agent, flags: &str) -> Tmux {
    let (program, socket) = (tlsclose(), agent.socket());
    let line = format!("{} top --interval 200ms --socket {} {flags}", program.display(), socket.display());
    Tmux::start(130, 30, &format!("{line}; echo ended with $?; sleep 60"))
}

#[test]
fn a_leak_appears_opens_to_its_code_path_and_goes() {
    needs(&["tmux"]);
    let namespace = Netns::new();
    let agent = Agent::start();
    let way = way_named("eof_forget");
    let arguments = ["--count", "4", "--for", "90", "--recover-after", "20"];
    let mut leaky = Leaky::start(&namespace, Language::C, way, &arguments);
    let tmux = top(&agent, &format!("--comm {}", leaky.comm));
    tmux.shows(&["No socket lingers.", "q end"]);
    leaky.ready();
    wait_for_site(&agent, &leaky, 4);
    let row = format!("{}[{}]", leaky.comm, leaky.pid());
    tmux.shows(&[&row, way.kind, &way.touched_function()]);

    tmux.press("Enter");
    let place = format!("tests/leaky/c/ways.c:{}", way.line(Language::C, "opened"));
    tmux.shows(&["opened by accept4", &way.opened_function(), &place, "Esc back"]);
    tmux.resize(90, 12);
    tmux.press("G");
    tmux.shows(&["fix  "]);
    tmux.resize(130, 30);
    leaky.recovered();
    tmux.press("g");
    tmux.shows(&["No socket of this site lingers any more."]);
    tmux.press("Escape");
    tmux.shows(&["No socket lingers."]);
    tmux.press("q");
    let screen = tmux.shows(&["ended with 0"]);
    assert!(!screen.contains("q end"), "the terminal is as it was: {screen}");
}

#[test]
fn a_filter_a_hostile_name_and_an_agent_that_goes() {
    needs(&["tmux"]);
    let namespace = Netns::new();
    let (agent, leaky) = agent_and_leak(&namespace, &[]);
    // It would clear the screen and set the window's title.
    let arguments = ["--count", "3", "--for", "90", "--comm", "\x1b[2J\x1b]0;x"];
    let mut hostile = Leaky::start(&namespace, Language::C, way_named("half_close"), &arguments);
    hostile.ready();
    wait_for_site(&agent, &hostile, 3);
    let tmux = top(&agent, "");
    let (row, hostile_row) = (format!("{}[{}]", leaky.comm, leaky.pid()), format!("x[{}]", hostile.pid()));
    let screen = tmux.shows(&[&row, &hostile_row]);
    assert!(screen.contains("[2J") && screen.contains("STATUS"), "escaped, and nothing was cleared: {screen}");

    tmux.press("/");
    tmux.press(&leaky.comm);
    tmux.press("Enter");
    let screen = wait_for("the other row to go", seconds(10), || {
        let screen = tmux.screen();
        (!screen.contains(&hostile_row)).then_some(screen)
    });
    assert!(screen.contains(&row) && screen.contains("filter: "), "{screen}");

    assert!(agent.stop().success());
    tmux.shows(&["asking again: no agent answers", &row]);
    tmux.press("C-c");
    tmux.shows(&["ended with 0"]);
}

#[test]
fn without_an_agent_or_a_terminal_one_line_says_so() {
    needs(&["tmux"]);
    let output = run(&mut tlsclose_command(&["top"]), seconds(10));
    assert_eq!((output.code, output.stderr.lines().count()), (Some(2), 1), "{output:?}");
    assert!(output.stderr.contains("needs a terminal"), "{output:?}");
    let line = format!("{} top --socket /nonexistent/agent.sock; echo ended with $?; sleep 60", tlsclose().display());
    let screen = Tmux::start(130, 10, &line).shows(&["ended with 3"]);
    assert!(screen.contains("no agent answers at /nonexistent/agent.sock"), "{screen}");
}

#[test]
fn a_signal_gives_the_terminal_back() {
    needs(&["tmux"]);
    let agent = Agent::start();
    let tmux = top(&agent, "--comm nobody-is-called-so");
    tmux.shows(&["q end"]);
    let is_it = |line: &&str| line.contains(&*agent.socket().display().to_string()) && line.contains("--interval");
    let processes = run(Command::new("ps").args(["-eo", "pid=,comm=,args="]), seconds(10)).stdout;
    let line = processes.lines().filter(|line| line.contains(" tlsclose ")).find(is_it).expect("its process");
    let pid: i32 = line.trim().split(' ').next().and_then(|pid| pid.parse().ok()).expect("a PID");
    let pid = rustix::process::Pid::from_raw(pid).expect("a PID");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    tmux.shows(&["ended with 0"]);
}
