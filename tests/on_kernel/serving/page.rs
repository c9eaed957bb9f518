//! The page at `/`, in a browser.

use std::collections::HashSet;

use serde_json::{Value, json};
use tempfile::TempDir;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::browser::{Browser, ENTER, TAB};
use tlsclose_tests::expect::wait_for_site;
use tlsclose_tests::front::Front;
use tlsclose_tests::host::needs;
use tlsclose_tests::http::HASH;
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::process_of;

use crate::agent_and_leak;

const TOOLS: [&str; 2] = ["chromium", "chromedriver"];

fn page(port: u16, path: &str) -> Browser {
    let browser = Browser::start(1280, 900);
    browser.open(&format!("http://127.0.0.1:{port}/{path}"));
    browser
}

/// What somebody types into a filter, or chooses there.
fn choose(browser: &Browser, filter: &str, value: &str) {
    let (filter, value) = (json!(filter), json!(value));
    browser.script(&format!(
        "byId({filter}).value = {value}; byId({filter}).dispatchEvent(new Event('input', {{bubbles: true}}))"
    ));
}

fn assert_no_complaints(browser: &Browser) {
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// Such as `+1.5/min`.
fn is_rate(cell: &Value) -> bool {
    let number = cell.as_str().and_then(|cell| cell.strip_suffix("/min"));
    number.is_some_and(|number| number.starts_with(['+', '-']) && number.parse::<f64>().is_ok_and(f64::is_finite))
}

/// Such as `5 s`, of a socket that was seen from its beginning.
fn is_age(cell: &Value) -> bool {
    let parts = cell.as_str().and_then(|cell| cell.split_once(' '));
    parts.is_some_and(|(number, unit)| number.parse::<u64>().is_ok() && ["s", "min"].contains(&unit))
}

#[test]
fn a_leak_appears_opens_by_a_key_to_its_code_paths_and_goes() {
    needs(&TOOLS);
    let namespace = Netns::new();
    let agent = Agent::start();
    let browser = page(agent.port(), "");
    browser.wait_for("an answer of the agent", |text| text.contains(" leaking"));
    let way = way_named("eof_forget");
    let arguments = ["--count", "4", "--for", "120", "--recover-after", "30"];
    let mut leaky = Leaky::start(&namespace, Language::C, way, &arguments);
    leaky.ready();
    wait_for_site(&agent, &leaky, 4);
    let row = format!("{}[{}]", leaky.comm, leaky.pid());
    browser.wait_for("the leak", |text| text.contains(&row));

    // Only this program's, whatever other tests leak meanwhile.
    browser.script(&format!(
        "byId('text').value = '{row}'; byId('text').dispatchEvent(new Event('input', {{bubbles: true}})); byId('order').focus()"
    ));
    browser.press(&format!("{TAB}{ENTER}"));
    let text = browser.wait_for("its code paths", |text| text.contains("opened by accept4"));
    for part in ["4 sockets", way.kind, &way.opened_function(), &way.touched_function(), "Close the connection when"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let focused = browser.script("return document.activeElement.innerText");
    assert!(focused.as_str().is_some_and(|text| text.contains(&row)), "{focused}");
    let line = browser.script("return document.querySelector('svg').getAttribute('aria-label')");
    assert!(line.as_str().is_some_and(|label| label.ends_with("to 4 sockets, at most 4")), "{line}");
    let cells =
        browser.script("return [...document.querySelectorAll('summary .number')].map((cell) => cell.innerText)");
    assert!(is_rate(&cells[1]) && is_age(&cells[2]), "{cells}");

    leaky.recovered();
    browser.wait_for("its end", |text| !text.contains(&row));
    assert_no_complaints(&browser);
}

/// A page on which the site of a program is open.
fn open_site() -> (Browser, Leaky, Agent, Netns) {
    let namespace = Netns::new();
    let (agent, leaky) = agent_and_leak(&namespace, &[]);
    let site = wait_for_site(&agent, &leaky, 4);
    let browser = page(agent.port(), &format!("#{}", site["site"].as_str().expect("a site")));
    browser.wait_for("its paths", |text| text.contains("usually closed"));
    (browser, leaky, agent, namespace)
}

#[test]
fn a_site_in_the_address_is_open_and_its_paths_stand_side_by_side() {
    needs(&TOOLS);
    let (browser, _leaky, _agent, _namespace) = open_site();
    let tops = browser.script("return [...document.querySelectorAll('.paths section')].map((path) => path.offsetTop)");
    let tops = tops.as_array().expect("a list");
    assert!(tops.len() == 3 && tops.iter().all(|top| top == &tops[0]), "{tops:?}");
    assert_no_complaints(&browser);
}

#[test]
fn an_address_that_changes_opens_its_site_and_a_broken_one_opens_none() {
    needs(&TOOLS);
    let namespace = Netns::new();
    let (agent, leaky) = agent_and_leak(&namespace, &[]);
    let site = wait_for_site(&agent, &leaky, 4);
    let browser = page(agent.port(), "#%");
    let row = format!("{}[{}]", leaky.comm, leaky.pid());
    let text = browser.wait_for("the leak", |text| text.contains(&row));
    assert!(!text.contains("usually closed"), "{text}");
    browser.script(&format!("location.hash = {}", site["site"]));
    browser.wait_for("its paths", |text| text.contains("usually closed"));
    assert_no_complaints(&browser);
}

#[test]
fn a_hostile_name_stays_text() {
    needs(&TOOLS);
    let namespace = Netns::new();
    let agent = Agent::start();
    for name in ["<img src=x>'\"&", "<script>x=1"] {
        let arguments = ["--count", "3", "--for", "90", "--comm", name];
        let mut leaky = Leaky::start(&namespace, Language::C, way_named("eof_forget"), &arguments);
        leaky.ready();
        wait_for_site(&agent, &leaky, 3);
        let browser = page(agent.port(), "");
        let shown = format!("{name}[{}]", leaky.pid());
        browser.wait_for("its row", |text| text.contains(&shown));
        browser.script("document.querySelectorAll('details').forEach((row) => row.open = true)");
        let held_by = format!("{shown} {}, 3 sockets", leaky.executable().display());
        browser.wait_for("its holder", |text| text.contains(&held_by));
        let offered = browser.script("return [...byId('process').options].map((option) => option.value)");
        assert!(offered.as_array().is_some_and(|names| names.contains(&name.into())), "{offered}");
        assert_eq!(browser.script("return document.querySelectorAll('img').length"), 0);
        assert_eq!(browser.script("return document.querySelectorAll('script').length"), 1, "the page's own");
        assert_eq!(browser.script("return typeof x"), "undefined", "the name ran");
        assert_no_complaints(&browser);
    }
}

#[test]
fn with_details_an_open_site_shows_lines_sockets_and_who_holds_them() {
    needs(&TOOLS);
    let namespace = Netns::new();
    let directory = TempDir::new().expect("a directory");
    let configuration = directory.path().join("web.yml");
    std::fs::write(&configuration, format!("basic_auth_users:\n  reader: {HASH}\n")).expect("a configuration");
    let configuration = format!("--web.config.file={}", configuration.display());
    let (agent, mut leaky) = agent_and_leak(&namespace, &[&configuration, "--web.details=on"]);
    let site = wait_for_site(&agent, &leaky, 4);
    let browser = Browser::start(1280, 900);
    let site = site["site"].as_str().expect("a site");
    browser.open(&format!("http://reader:secret@127.0.0.1:{}/#{site}", agent.port()));
    let text = browser.wait_for("its sockets", |text| text.contains("for example"));
    let at = |what: &str| format!("{}:{}", Language::C.source(), leaky.way.line(Language::C, what));
    let (opened, touched) = (leaky.way.opened_function(), leaky.way.touched_function());
    let why = text.lines().find(|line| line.starts_with(&format!("Peer closed; read returned 0 in {touched} (")));
    let place = format!("{}) and no close followed.", at("touched"));
    assert!(why.is_some_and(|why| why.ends_with(&place)), "no {place} in {text}");
    let paths = browser.script("return [...document.querySelectorAll('.paths section')].map((path) => path.innerText)");
    for (path, title, function, at) in [
        (&paths[0], "opened by accept4\n", opened, at("opened")),
        (&paths[1], "last touched by read\n", touched, at("touched")),
    ] {
        let path = path.as_str().expect("a path");
        let mut frames = path.lines();
        let is_shown = frames.any(|frame| frame.starts_with(&format!("{function} ")) && frame.ends_with(&at));
        assert!(path.starts_with(title) && is_shown, "no {function} at {at} in {path}");
    }
    let own_address = format!("127.0.0.1:{} → 127.0.0.1:", leaky.port());
    let holder = format!(", {}[{}] fd ", leaky.comm, leaky.pid());
    let sockets = text.lines().filter(|line| line.starts_with(&own_address) && line.contains(" close_wait, "));
    let fds = sockets.filter_map(|line| line.split_once(&holder)?.1.parse::<u32>().ok());
    assert_eq!(fds.collect::<HashSet<_>>().len(), 4, "{text}");
    assert_no_complaints(&browser);
}

#[test]
fn choosing_a_process_a_kind_or_a_status_leaves_only_its_rows() {
    needs(&TOOLS);
    let namespace = Netns::new();
    let (agent, grows) = agent_and_leak(&namespace, &[]);
    let arguments = ["--count", "3", "--for", "90"];
    let mut stays = Leaky::start(&namespace, Language::C, way_named("half_close"), &arguments);
    stays.ready();
    wait_for_site(&agent, &stays, 3);
    // Only theirs, whatever other tests leak meanwhile, each with a status of its own.
    let statuses = [(grows.pid(), "leaking"), (stays.pid(), "lingering")];
    let front = Front::start(agent.tcp(), move |report| {
        report["sites"].as_array_mut().expect("sites").retain_mut(|site| {
            let status = statuses.iter().find(|(pid, _)| process_of(site, *pid).is_some());
            status.map(|(_, status)| site["status"] = json!(status)).is_some()
        });
    });
    let browser = page(front.port(), "");
    browser.wait_for("both", |text| text.contains("2 sites, 1 leaking"));
    let [one, other] = [&grows, &stays].map(|leaky| format!("{}[{}]", leaky.comm, leaky.pid()));
    let (both, one, other) = (vec![&*one, &*other], vec![&*one], vec![&*other]);
    let assert_rows = |expected: &[&str], what: &str| {
        let rows = browser.script("return [...document.querySelectorAll('summary')].map((row) => row.innerText)");
        let rows = rows.as_array().expect("a list");
        let fits = |(row, name): (&Value, &&str)| row.as_str().is_some_and(|row| row.contains(name));
        assert!(rows.len() == expected.len() && rows.iter().zip(expected).all(fits), "{what}: {rows:?}");
    };
    assert_rows(&both, "all");
    for (filter, value, expected) in [
        ("process", &*grows.comm, &one),
        ("process", &*stays.comm, &other),
        ("kind", "close_wait_eof_read", &one),
        ("kind", "fin_wait2_held", &other),
        ("status", "leaking", &one),
        ("status", "lingering", &other),
    ] {
        choose(&browser, filter, value);
        assert_rows(expected, value);
        choose(&browser, filter, "");
        assert_rows(&both, &format!("all after {value}"));
    }
    choose(&browser, "process", &grows.comm);
    choose(&browser, "kind", "fin_wait2_held");
    assert_rows(&[], "the kind of another process");
    assert_no_complaints(&browser);
}

/// A thousand sites like the one that the agent found, in ten namespaces of a hundred pods.
fn thousandfold(report: &mut Value) {
    let Some(site) = report["sites"].get(0).cloned() else { return };
    let like = |n: u64| {
        let mut site = site.clone();
        site["site"] = format!("{n:012x}").into();
        site["sockets"] = n.into();
        let pod = if n == 700 { "<script>alert(1)</script>".to_owned() } else { format!("pod-{}", n % 100) };
        let namespace = format!("namespace-{}", n / 100);
        site["processes"][0]["container"] = json!({"runtime": "", "id": format!("{n:064x}"), "name": "api", "pod": pod, "namespace": namespace, "image": ""});
        site["last_hour"]["sockets"] = (0..60).map(|minute| n * minute / 60).collect::<Vec<_>>().into();
        site
    };
    report["sites"] = (0..1000).map(like).collect();
}

#[test]
fn a_thousand_sites_are_shown_filtered_and_sorted() {
    needs(&TOOLS);
    let namespace = Netns::new();
    let (agent, _leaky) = agent_and_leak(&namespace, &[]);
    let front = Front::start(agent.tcp(), thousandfold);
    let browser = page(front.port(), "");
    browser.wait_for("all of them", |text| text.contains("1000 sites"));
    let rows = || browser.script("return document.querySelectorAll('details').length");
    assert_eq!(rows(), 1000);
    let first = browser.script("return document.querySelector('summary').innerText");
    assert!(first.as_str().is_some_and(|row| row.contains("999 sockets")), "{first}");
    let took = browser.script("const begun = performance.now(); draw(); return performance.now() - begun");
    assert!(took.as_f64().is_some_and(|milliseconds| milliseconds < 1000.0), "{took} ms");
    for (name, value, expected) in [
        ("namespace", "namespace-3", 100),
        ("pod", "pod-7", 1),
        ("namespace", "", 10),
        ("pod", "<script>alert(1)</script>", 1),
        ("pod", "", 1000),
        ("text", "namespace-4/pod-55", 1),
        ("text", "nothing is called so", 0),
    ] {
        choose(&browser, name, value);
        assert_eq!(rows(), expected, "{name}={value}");
    }
    assert!(browser.text().contains("Nothing fits the filter."));
    assert_eq!(browser.script("return document.querySelectorAll('script').length"), 1);
    assert_no_complaints(&browser);
}

/// Texts of less contrast than WCAG 2.1 asks for (4.5), with their colours.
const FAINT: &str = "
const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
const linear = (part) => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
const luminance = (colour) => { const [r, g, b] = numbers(colour).map(linear); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const behind = (node) => { for (; node; node = node.parentElement) {
  const colour = getComputedStyle(node).backgroundColor; if (numbers(colour)[3] !== 0) return colour; } return 'rgb(255,255,255)'; };
return [...document.querySelectorAll('body *')].filter((node) => node.checkVisibility()
    && [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim())).map((node) => {
  const [a, b] = [getComputedStyle(node).color, behind(node)];
  const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return [(light + 0.05) / (dark + 0.05), a, b, node.textContent.slice(0, 40)]; }).filter(([contrast]) => contrast < 4.5)";

#[test]
fn it_can_be_read_in_dark_and_light_and_by_a_screen_reader() {
    needs(&TOOLS);
    let (browser, leaky, _agent, _namespace) = open_site();
    let mut backgrounds = Vec::new();
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        assert_eq!(browser.script(FAINT), json!([]), "{scheme}");
        backgrounds.push(browser.script("return getComputedStyle(document.body).backgroundColor"));
    }
    assert_ne!(backgrounds[0], backgrounds[1], "both look the same");

    let tree = browser.devtools("Accessibility.getFullAXTree", &json!({}));
    let nodes = tree["nodes"].as_array().expect("a tree");
    let names = |role: &str| -> Vec<String> {
        let of_role = nodes.iter().filter(|node| node["role"]["value"] == role && node["ignored"] != true);
        of_role.map(|node| node["name"]["value"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(names("combobox"), ["Namespace", "Pod", "Process", "Kind", "Status", "Order"]);
    assert_eq!(names("searchbox"), ["Filter"]);
    assert_eq!(names("main"), ["Sites"]);
    let row = format!("{}[{}]", leaky.comm, leaky.pid());
    let rows = names("DisclosureTriangle");
    let spoken = rows.iter().find(|name| name.contains(&row)).unwrap_or_else(|| panic!("{rows:?}"));
    for part in ["close_wait_eof_read", "4 sockets", "last hour: from "] {
        assert!(spoken.contains(part), "no {part} in {spoken}");
    }
    assert_eq!(nodes.iter().filter(|node| node["role"]["value"] == "status").count(), 1);
}
