//! From the first socket to the last: growth, recovery, death, and several observers.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::expect::{assert_names_everything, wait_for_site, wait_for_sites};
use tlsclose_tests::leaky::{Language, Leaky, WAYS, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{is_leaking, sites_of, sockets_of};
use tlsclose_tests::{seconds, wait_for};

/// What a series of the program shows.
fn series(agent: &Agent, name: &str, leaky: &Leaky, labels: &[(&str, &str)]) -> Option<f64> {
    let own = [("comm", &*leaky.comm), ("kind", leaky.way.kind)];
    agent.metrics().sum(name, &[&own, labels].concat())
}

fn wait_for_series(agent: &Agent, name: &str, leaky: &Leaky, labels: &[(&str, &str)], value: f64) {
    let what = format!("{name} {labels:?} of {} to be {value}", leaky.comm);
    wait_for(&what, seconds(20), || (series(agent, name, leaky, labels) == Some(value)).then_some(()));
}

#[test]
fn a_site_that_keeps_growing_is_leaking_in_either_language() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let arguments = ["--count", "100", "--rate", "2", "--for", "60"];
    let start = |language, way| Leaky::start(&namespace, language, way_named(way), &arguments);
    let programs = [start(Language::C, "eof_forget"), start(Language::Rust, "client_half_close")];
    for leaky in &programs {
        let report = agent.wait_for("a site to be leaking", seconds(40), |report| is_leaking(report, leaky.pid()));
        let sites = sites_of(&report, leaky.pid());
        assert_eq!(sites.len(), 1, "{sites:#?}");
        assert_eq!(sites[0]["kind"], leaky.way.kind);
        assert!(sites[0]["per_minute"].as_f64().is_some_and(|rate| rate > 10.0), "{:#}", sites[0]);
        let leaking = series(&agent, "tlsclose_leaking_sockets", leaky, &[]);
        assert!(leaking.is_some_and(|sockets| sockets >= 3.0), "{leaking:?}");
    }
}

#[test]
fn few_sockets_that_stay_few_are_lingering_and_not_leaking() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let arguments = ["--count", "5", "--for", "60"];
    let mut leaky = Leaky::start(&namespace, Language::C, way_named("eof_forget"), &arguments);
    leaky.ready();
    wait_for_site(&agent, &leaky, 5);
    let end = Instant::now() + seconds(14);
    while Instant::now() < end {
        let report = agent.leaks();
        assert_eq!(sockets_of(&report, leaky.pid()), 5);
        assert_eq!(sites_of(&report, leaky.pid())[0]["status"], "lingering", "{report:#}");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(series(&agent, "tlsclose_leaking_sockets", &leaky, &[]), Some(0.0));
    assert_eq!(series(&agent, "tlsclose_lingering_sockets", &leaky, &[]), Some(5.0));
}

#[test]
fn counters_begin_at_zero_before_the_first_socket_lingers() {
    let namespace = Netns::new();
    let agent = Agent::start_with(&["--leak-after=4s"]);
    let way = way_named("eof_forget");
    let mut leaky = Leaky::start(&namespace, Language::C, way, &["--count", "6", "--for", "60"]);
    leaky.ready();
    let mut seen = Vec::new();
    wait_for("6 sockets to have lingered", seconds(20), || {
        let value = series(&agent, "tlsclose_lingered_sockets_total", &leaky, &[]);
        if let Some(value) = value.filter(|value| seen.last() != Some(value)) {
            seen.push(value);
        }
        (value == Some(6.0)).then_some(())
    });
    assert_eq!(seen.first(), Some(&0.0), "{seen:?}");
    assert!(seen.is_sorted(), "{seen:?}");
    agent.wait_for_censuses(3);
    assert_eq!(series(&agent, "tlsclose_lingered_sockets_total", &leaky, &[]), Some(6.0));
    assert_eq!(series(&agent, "tlsclose_adopted_sockets_total", &leaky, &[]).unwrap_or(0.0), 0.0);
    assert_one_site_info(&agent, &leaky);
}

fn assert_one_site_info(agent: &Agent, leaky: &Leaky) {
    let site = &sites_of(&agent.leaks(), leaky.pid())[0]["site"].clone();
    let site = site.as_str().expect("a site");
    assert!(site.len() == 12 && site.bytes().all(|byte| byte.is_ascii_hexdigit()), "{site}");
    let metrics = agent.metrics();
    let infos = metrics.select("tlsclose_site_info", &[("site", site)]);
    let [info] = infos[..] else { panic!("{} of {site}: {infos:?}", infos.len()) };
    let line = leaky.way.line(leaky.language, "touched");
    let touched = format!("{} (", leaky.way.touched_function());
    assert!(info.labels["touched"].starts_with(&touched), "{info:?}");
    assert!(info.labels["touched"].ends_with(&format!("{}:{line})", "ways.c")), "{info:?}");
    assert_eq!(info.value, 1.0);
}

#[test]
fn sockets_older_than_the_agent_are_found_and_counted_apart() {
    let namespace = Netns::new();
    let mut programs = Vec::new();
    for way in &WAYS {
        let arguments = ["--count", "5", "--for", "60"];
        programs.push(Leaky::start(&namespace, Language::C, way, &arguments));
    }
    for leaky in &mut programs {
        leaky.ready();
    }
    let agent = Agent::start();
    let sites = wait_for_sites(&agent, &programs, 5);
    for (leaky, site) in programs.iter().zip(&sites) {
        assert_eq!(site["kind"], leaky.way.kind);
        assert_eq!(site["opened"], Value::Null, "{site:#}");
        assert_eq!(site["adopted"], 5, "{site:#}");
        assert_eq!(site["lingered"], 0, "{site:#}");
        assert_eq!(site["age_is_minimum"], true, "{site:#}");
        let of = |name| series(&agent, name, leaky, &[]);
        assert_eq!(of("tlsclose_adopted_sockets_total"), Some(5.0));
        assert_eq!(of("tlsclose_lingering_sockets"), Some(5.0));
        assert_eq!(of("tlsclose_lingered_sockets_total").unwrap_or(0.0), 0.0);
    }
}

#[test]
fn sockets_closed_after_all_have_ended_by_close() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let programs = ["eof_forget", "half_close", "reset_forget"].map(|way| {
        let arguments = ["--count", "6", "--for", "60", "--recover-after", "12"];
        Leaky::start(&namespace, Language::C, way_named(way), &arguments)
    });
    wait_for_sites(&agent, &programs, 6);
    for mut leaky in programs {
        leaky.recovered();
        let ended = "tlsclose_lingering_ended_total";
        wait_for_series(&agent, ended, &leaky, &[("how", "closed")], 6.0);
        wait_for_series(&agent, "tlsclose_lingering_sockets", &leaky, &[], 0.0);
        assert_eq!(series(&agent, ended, &leaky, &[("how", "process_exit")]).unwrap_or(0.0), 0.0);
        assert_eq!(series(&agent, ended, &leaky, &[("how", "touched")]).unwrap_or(0.0), 0.0);
        assert_eq!(sockets_of(&agent.leaks(), leaky.pid()), 0);
    }
}

#[test]
fn the_end_of_a_process_is_no_close() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let way = way_named("eof_forget");
    let mut leaky = Leaky::start(&namespace, Language::C, way, &["--count", "6", "--for", "60"]);
    leaky.ready();
    wait_for_site(&agent, &leaky, 6);
    leaky.child().signal(Signal::KILL);
    leaky.child().wait(seconds(5)).expect("an end");
    let ended = "tlsclose_lingering_ended_total";
    wait_for_series(&agent, ended, &leaky, &[("how", "process_exit")], 6.0);
    assert_eq!(series(&agent, ended, &leaky, &[("how", "closed")]).unwrap_or(0.0), 0.0);
    assert_eq!(sockets_of(&agent.leaks(), leaky.pid()), 0);
}

#[test]
fn two_agents_at_once_find_the_same() {
    let namespace = Netns::new();
    let agents = [Agent::start(), Agent::start()];
    let way = way_named("eof_forget");
    let mut leaky = Leaky::start(&namespace, Language::C, way, &["--count", "5", "--for", "60"]);
    leaky.ready();
    let [first, second] = agents.each_ref().map(|agent| wait_for_site(agent, &leaky, 5));
    assert_names_everything(&first, &mut leaky);
    assert_names_everything(&second, &mut leaky);
    assert_eq!(first["site"], second["site"], "one cause, one site");
    let [one, other] = agents;
    assert!(one.stop().success());
    other.wait_for_censuses(2);
    assert_eq!(sockets_of(&other.leaks(), leaky.pid()), 5);
}

#[test]
fn a_site_keeps_its_name_when_agent_and_program_restart() {
    let namespace = Netns::new();
    let agent = Agent::start();
    let way = way_named("eof_forget");
    let arguments = ["--count", "4", "--for", "60"];
    let mut first = Leaky::start(&namespace, Language::C, way, &arguments);
    first.ready();
    let before = wait_for_site(&agent, &first, 4)["site"].clone();
    drop(agent);
    let agent = Agent::start();
    let program = first.executable().to_owned();
    let again = namespace.command(program);
    let mut second = Leaky::start_by(Language::C, way, &arguments, |_| again);
    second.ready();
    let after = wait_for_site(&agent, &second, 4)["site"].clone();
    assert_eq!(before, after);
}
