//! The page at `/`, in a browser.

use std::process::Command;

use tempfile::TempDir;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::child::run;
use tlsclose_tests::expect::wait_for_site;
use tlsclose_tests::host::{on_kernel, tool};
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::sites_of;
use tlsclose_tests::seconds;

/// The page as it is after its script has run for two refreshes.
fn shown(agent: &Agent, path: &str) -> String {
    let profile = TempDir::new().expect("a directory");
    let mut chromium = Command::new(tool("chromium"));
    // The browser's own sandbox does not work for root.
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=9000"]);
    chromium.arg(format!("--user-data-dir={}", profile.path().display()));
    chromium.arg(format!("http://127.0.0.1:{}{path}", agent.port()));
    let output = run(&mut chromium, seconds(60));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let refused = output.stderr.lines().find(|line| line.contains("Content Security Policy"));
    assert_eq!(refused, None);
    output.stdout
}

#[test]
fn the_page_shows_a_leak_with_its_code_path_and_forgets_it_when_it_ends() {
    if !on_kernel(&["chromium"]) {
        return;
    }
    let namespace = Netns::new();
    let agent = Agent::start();
    let way = way_named("eof_forget");
    let arguments = ["--count", "4", "--for", "120", "--recover-after", "20"];
    let mut leaky = Leaky::start(&namespace, Language::C, way, &arguments);
    leaky.ready();
    let site = wait_for_site(&agent, &leaky, 4);
    let page = shown(&agent, &format!("/#{}", site["site"].as_str().expect("a site")));
    let row = format!("{}[{}]", leaky.comm, leaky.pid());
    assert!(page.contains(&row) && page.contains("4 sockets") && page.contains(way.kind), "{page}");
    for function in [way.opened_function(), way.touched_function()] {
        assert!(page.contains(&format!("<li>{function}<span")), "no {function} in {page}");
    }
    assert!(page.contains("<polyline"), "{page}");
    leaky.recovered();
    agent.wait_for("its end", seconds(20), |report| sites_of(report, leaky.pid()).is_empty());
    let page = shown(&agent, "/");
    assert!(!page.contains(&row), "{page}");
    assert!(page.contains(" leaking</p>"), "the page did not ask: {page}");
}

#[test]
fn a_hostile_name_stays_text() {
    if !on_kernel(&["chromium"]) {
        return;
    }
    let namespace = Netns::new();
    let agent = Agent::start();
    let name = "<img src=x>'\"&";
    let arguments = ["--count", "3", "--for", "60", "--comm", name];
    let mut leaky = Leaky::start(&namespace, Language::C, way_named("eof_forget"), &arguments);
    leaky.ready();
    wait_for_site(&agent, &leaky, 3);
    let page = shown(&agent, "/");
    assert!(page.contains(&format!("&lt;img src=x&gt;'\"&amp;[{}]", leaky.pid())), "{page}");
    assert!(!page.contains("<img"), "{page}");
}
