//! What a finding must say, to the line.

use serde_json::Value;

use crate::agent::Agent;
use crate::leaky::{Language, Leaky};
use crate::report::{frames_in, function, line_in, list, process_of, sites_of, sockets_of};
use crate::seconds;

/// Waits until all `sockets` of the program linger, and no more do after two further censuses.
/// Gives the one site that holds them.
pub fn wait_for_site(agent: &Agent, leaky: &Leaky, sockets: u64) -> Value {
    wait_for_sites(agent, [leaky], sockets).remove(0)
}

/// The same of several programs, each with so many sockets.
pub fn wait_for_sites<'a>(
    agent: &Agent,
    programs: impl IntoIterator<Item = &'a Leaky, IntoIter: Clone>,
    sockets: u64,
) -> Vec<Value> {
    let programs = programs.into_iter();
    for leaky in programs.clone() {
        let what = format!("{sockets} sockets of {} ({})", leaky.way.name, leaky.pid());
        agent.wait_for(&what, seconds(20), |report| sockets_of(report, leaky.pid()) >= sockets);
    }
    agent.wait_for_censuses(2);
    let report = agent.leaks();
    let site_of = |leaky: &Leaky| {
        let sites = sites_of(&report, leaky.pid());
        let [site] = sites[..] else { panic!("{} sites of {}: {sites:#?}", sites.len(), leaky.way.name) };
        assert_eq!(process_of(site, leaky.pid()).expect("its process")["sockets"], sockets, "{site:#}");
        site.clone()
    };
    programs.map(site_of).collect()
}

/// Kind, process, addresses and both code paths.
pub fn assert_names_everything(site: &Value, leaky: &mut Leaky) {
    assert_names_process(site, leaky);
    assert_names_sockets(site, leaky);
    assert_names_opening(site, leaky);
    assert_names_touch(site, leaky);
}

pub fn assert_names_process(site: &Value, leaky: &Leaky) {
    assert_eq!(site["kind"], leaky.way.kind, "{site:#}");
    let process = process_of(site, leaky.pid()).expect("its process");
    assert_eq!(process["comm"], *leaky.comm, "{process:#}");
    assert_eq!(process["exe"], leaky.executable().to_str().expect("UTF-8"), "{process:#}");
    assert_eq!(process["uid"], 0, "{process:#}");
    assert!(process.get("cmdline").is_none(), "command lines only when asked for: {process:#}");
}

pub fn assert_names_sockets(site: &Value, leaky: &mut Leaky) {
    let port = leaky.port();
    assert_ne!(list(&site["examples"]).count(), 0, "{site:#}");
    for example in list(&site["examples"]) {
        assert_eq!(example["state"], leaky.way.state, "{example:#}");
        assert_eq!(example["recv_queue"], leaky.way.recv_queue, "{example:#}");
        let own_side = if leaky.way.is_client { "remote" } else { "local" };
        let address = example[own_side].as_str().unwrap_or_default();
        assert!(address.ends_with(&format!(":{port}")), "{own_side} is not port {port}: {example:#}");
        let holders: Vec<_> = list(&example["holders"]).map(|holder| &holder["pid"]).collect();
        assert_eq!(holders, [leaky.pid()], "{example:#}");
    }
}

pub fn assert_names_opening(site: &Value, leaky: &Leaky) {
    let way = &leaky.way;
    let opened = &site["opened"];
    assert_eq!(opened["call"], way.opened_call(leaky.language), "{site:#}");
    assert_innermost(opened, leaky, &way.opened_function(), way.line(leaky.language, "opened"));
    let caller = if way.is_client { "connect_all" } else { "serve" };
    assert_called_by(opened, leaky, caller);
}

pub fn assert_names_touch(site: &Value, leaky: &Leaky) {
    let way = &leaky.way;
    let Some((call, result)) = way.touched else {
        return;
    };
    let touched = &site["touched"];
    assert_eq!(touched["call"], call, "{site:#}");
    if let Some(result) = result {
        assert_eq!(touched["result"], result, "{site:#}");
    }
    assert_innermost(touched, leaky, &way.touched_function(), way.line(leaky.language, "touched"));
    assert_called_by(touched, leaky, if way.is_client { "connect_all" } else { "serve" });
}

/// The innermost frame of a source file in a stack is this function, at the line that is marked so.
pub fn assert_at(stack: &Value, source: &str, name: &str, marker: &str) {
    let frames = frames_in(stack, source);
    let innermost = frames.first().unwrap_or_else(|| panic!("no frame of {source}: {stack:#}"));
    assert_eq!((function(innermost), innermost["line"].as_u64()), (name, Some(line_in(source, marker))), "{stack:#}");
}

/// The innermost frame of the program's own code: this function, at this line.
fn assert_innermost(touch: &Value, leaky: &Leaky, name: &str, line: u64) {
    let frames = frames_in(&touch["stack"], leaky.language.source());
    let innermost = frames.first().unwrap_or_else(|| panic!("no frame of its own: {touch:#}"));
    assert_eq!((function(innermost), innermost["line"].as_u64()), (name, Some(line)), "{touch:#}");
    let module = innermost["module"].as_str().unwrap_or_default();
    assert!(module.ends_with(&*leaky.comm), "not of {}: {touch:#}", leaky.comm);
    assert_eq!(touch["whole"], true, "{touch:#}");
}

/// The C programs have the same frames whatever the compiler does: what comes right after the
/// innermost one is its true caller, so none was lost between.
fn assert_called_by(touch: &Value, leaky: &Leaky, caller: &str) {
    if matches!(leaky.language, Language::Rust | Language::FramelessRust) {
        return;
    }
    let functions: Vec<_> = frames_in(&touch["stack"], ".c").into_iter().map(function).collect();
    assert_eq!(functions.get(1), Some(&caller), "{touch:#}");
}
