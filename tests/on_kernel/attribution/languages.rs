//! The same finding in every language and build: function, file and line where there are any, and
//! what a symbol server needs where there are none.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tlsclose_tests::agent::{Agent, tlsclose_command};
use tlsclose_tests::child::Child;
use tlsclose_tests::expect::{assert_names_everything, wait_for_site};
use tlsclose_tests::host::{beside_leaky_c, leaky_c_frameless, leaky_rust_frameless, needs, root};
use tlsclose_tests::leaky::{Language, Leaky, WAYS, Way, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{frames_in, function, list, marked_line, named_by, sites_of, sockets_of};
use tlsclose_tests::{seconds, wait_for};

fn start(namespace: &Netns, language: Language) -> Leaky {
    Leaky::start(namespace, language, way_named("eof_forget"), &["--count", "3", "--for", "60"])
}

/// The frames of the program's source: function and line.
fn own<'a>(touch: &'a Value, source: &str) -> Vec<(&'a str, Option<u64>)> {
    let frames = frames_in(&touch["stack"], source).into_iter();
    frames.map(|frame| (frame["function"].as_str().unwrap_or_default(), frame["line"].as_u64())).collect()
}

fn lines<'a>(language: Language, expected: &[(&'a str, &str)]) -> Vec<(&'a str, Option<u64>)> {
    let source = fs::read_to_string(root().join(language.source())).expect("the source");
    let line = |marker: &str| Some(marked_line(&source, &format!("eof_forget {marker}")));
    expected.iter().map(|(function, marker)| (*function, line(marker))).collect()
}

#[test]
fn cpp_names_templates_inlined_members_and_what_throws() {
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let mut leaky = start(&namespace, Language::Cpp);
    leaky.ready();
    let site = wait_for_site(&agent, &leaky, 3);
    let opened = [
        ("Server<Plain>::eof_forget_accept()", "opened"),
        ("Server<Plain>::admit()", "opened caller"),
        ("Server<Plain>::serve(int, int)", "opened outer"),
        ("main", "main"),
    ];
    assert_eq!(own(&site["opened"], "leaky.cc"), lines(Language::Cpp, &opened), "{site:#}");
    let touched = [
        ("Reader<Plain>::handle(int)", "touched"),
        ("Server<Plain>::serve(int, int)", "touched caller"),
        ("main", "main"),
    ];
    assert_eq!(own(&site["touched"], "leaky.cc"), lines(Language::Cpp, &touched), "{site:#}");
    assert_whole(&site);
}

fn assert_whole(site: &Value) {
    for touch in ["opened", "touched"] {
        assert_eq!(site[touch]["whole"], true, "{site:#}");
    }
}

#[test]
fn rust_without_frame_pointers_is_named_to_the_line() {
    check_ways(Language::FramelessRust);
}

#[test]
fn a_static_program_is_named_to_the_line() {
    check_ways(Language::StaticC);
}

/// The first at any address, as dynamic ones mostly are, and the second, which is dynamic, at none but its own.
#[test]
fn a_program_is_named_to_the_line_wherever_it_is_loaded() {
    check_ways(Language::StaticPieC);
    check_ways(Language::FixedC);
}

/// Its own functions have neither unwind tables nor frame pointers.
#[test]
fn a_program_with_musl_is_named_to_the_line() {
    check_ways(Language::Musl);
    check_ways(Language::FramedMusl);
}

#[test]
fn a_static_program_with_musl_is_named_to_the_line() {
    check_ways(Language::StaticMusl);
    check_ways(Language::FramedStaticMusl);
}

fn check_ways(language: Language) {
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let begin = |way: &Way| Leaky::start(&namespace, language, way, &["--count", "3", "--for", "60"]);
    let programs: Vec<Leaky> = WAYS.iter().map(begin).collect();
    for mut leaky in programs {
        leaky.ready();
        let site = wait_for_site(&agent, &leaky, 3);
        assert_names_everything(&site, &mut leaky);
    }
}

#[test]
fn go_is_named_from_the_goroutine_to_the_system_call() {
    check_go(Language::Go);
}

/// By the table that Go's runtime itself needs.
#[test]
fn go_without_symbols_is_named_all_the_same() {
    check_go(Language::StrippedGo);
}

fn check_go(language: Language) {
    needs(&["go"]);
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let mut leaky = start(&namespace, language);
    leaky.ready();
    let site = wait_for_site(&agent, &leaky, 3);
    let opened = lines(Language::Go, &[("main.eof_forget_accept", "opened"), ("main.serve", "opened caller")]);
    assert_eq!(own(&site["opened"], "leaky.go")[..2], opened, "{site:#}");
    let touched = lines(Language::Go, &[("main.eof_forget_handle", "touched"), ("main.serve", "touched caller")]);
    assert_eq!(own(&site["touched"], "leaky.go")[..2], touched, "{site:#}");
    let has = |function: &str| list(&site["opened"]["stack"]).any(|frame| frame["function"] == function);
    assert!(has("syscall.accept4") && has("net.(*TCPListener).Accept"), "{site:#}");
    let why = site["why"].as_str().unwrap_or_default();
    assert!(why.contains("read returned 0 in main.eof_forget_handle"), "{why}");
    assert_whole(&site);
}

#[test]
fn recursion_makes_one_site_whatever_its_depth() {
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let arguments = ["--count", "0", "--depths", "3,20,60,90", "--for", "60"];
    let mut leaky = Leaky::start(&namespace, Language::Cpp, way_named("eof_forget"), &arguments);
    leaky.ready();
    let site = wait_for_site(&agent, &leaky, 4);
    let dives = |touch: &str| list(&site[touch]["stack"]).filter(|frame| function(frame) == "dive").count();
    // The innermost one is at another place than those that repeat.
    assert_eq!((dives("opened"), dives("touched")), (3, 3), "{site:#}");
    assert_whole(&site);
}

/// 1,000 calls of some 100 bytes are more than any copy holds.
#[test]
fn a_stack_that_is_too_deep_is_shown_as_cut_and_never_as_whole() {
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let arguments = ["--count", "0", "--depths", "1000,1000,1000", "--for", "60"];
    let mut leaky = Leaky::start(&namespace, Language::Cpp, way_named("eof_forget"), &arguments);
    leaky.ready();
    let site = wait_for_site(&agent, &leaky, 3);
    for (touch, innermost) in
        [("opened", "Server<Plain>::eof_forget_accept()"), ("touched", "Reader<Plain>::handle(int)")]
    {
        assert_eq!(site[touch]["whole"], false, "{site:#}");
        assert_eq!(own(&site[touch], "leaky.cc").first().map(|frame| frame.0), Some(innermost), "{site:#}");
    }
    let mut leaks = tlsclose_command(&["leaks", "-c", &leaky.comm, "--socket"]);
    let table = String::from_utf8(leaks.arg(agent.socket()).output().expect("a table").stdout).expect("UTF-8");
    assert_eq!(table.matches("\n    … (cut)\n").count(), 2, "{table}");
}

#[test]
fn a_program_without_dwarf_is_named_to_the_function() {
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let mut leaky = start(&namespace, Language::SymbolsC);
    leaky.ready();
    let site = wait_for_site(&agent, &leaky, 3);
    assert_whole(&site);
    for (touch, name) in [("opened", "eof_forget_accept"), ("touched", "eof_forget_handle")] {
        let innermost = own_of(&leaky, &site[touch])[0];
        assert_eq!((function(innermost), &innermost["line"]), (name, &Value::Null), "{site:#}");
        assert_names(
            innermost,
            &leaky_c_frameless(),
            name,
            &format!("ways.c:{}", leaky.way.line(leaky.language, touch)),
        );
    }
}

/// Module, offset and build id are there, and lead to function and line in the program as it was
/// before it was stripped.
#[test]
fn a_stripped_program_yields_what_a_symbol_server_needs() {
    needs(&["addr2line"]);
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let mut leaky = start(&namespace, Language::StrippedC);
    leaky.ready();
    let site = wait_for_site(&agent, &leaky, 3);
    assert_whole(&site);
    for (touch, name) in [("opened", "eof_forget_accept"), ("touched", "eof_forget_handle")] {
        let innermost = own_of(&leaky, &site[touch])[0];
        assert_nameless(innermost);
        assert_names(
            innermost,
            &leaky_c_frameless(),
            name,
            &format!("ways.c:{}", leaky.way.line(leaky.language, touch)),
        );
    }
    // The standard library's functions are in the same file, within the program's.
    let mut leaky = start(&namespace, Language::StrippedRust);
    leaky.ready();
    let site = wait_for_site(&agent, &leaky, 3);
    assert_whole(&site);
    for touch in ["opened", "touched"] {
        let own = own_of(&leaky, &site[touch]);
        own.iter().for_each(|frame| assert_nameless(frame));
        let line = format!("ways.rs:{}", leaky.way.line(leaky.language, touch));
        let places: Vec<String> = own.iter().map(|frame| named_by(&leaky_rust_frameless(), frame).1).collect();
        assert!(places.iter().any(|place| place.contains(&line)), "{line} is not in {places:#?}");
    }
}

/// As in a container whose image carries debug files: this program sees no other root.
#[test]
fn a_debug_file_in_the_root_of_the_program_names_it_to_the_line() {
    needs(&["strip", "readelf"]);
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let arguments = ["--count", "3", "--for", "60"];
    let mut leaky = Leaky::start_by(Language::StaticC, way_named("eof_forget"), &arguments, |executable| {
        let (inside, name) = (executable.parent().expect("a directory"), executable.file_name().expect("a name"));
        split_debug_file(executable, inside);
        fs::create_dir(inside.join("proc")).expect("a directory");
        let mut command = namespace.command("unshare");
        let script = "mount --bind /proc \"$0/proc\" && exec chroot \"$@\"";
        command.args(["--mount", "sh", "-c", script]).args([inside, inside, &Path::new("/").join(name)]);
        command
    });
    leaky.ready();
    let site = wait_for_site(&agent, &leaky, 3);
    assert_names_everything(&site, &mut leaky);
}

/// Takes symbols and DWARF out of a program, to where debuggers look for them below a root.
fn split_debug_file(program: &Path, below: &Path) {
    let run = |tool: &str, arguments: &[&str]| {
        let output = Command::new(tool).args(arguments).arg(program).output().expect("a program");
        assert!(output.status.success(), "{tool} {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let notes = run("readelf", &["-n"]);
    let id = notes.split("Build ID: ").nth(1).and_then(|id| id.split_whitespace().next()).expect("a build ID");
    let directory = below.join("usr/lib/debug/.build-id").join(&id[..2]);
    fs::create_dir_all(&directory).expect("a directory");
    let debug = directory.join(format!("{}.debug", &id[2..]));
    fs::copy(program, &debug).expect("a copy");
    run("strip", &[]);
    assert!(!run("readelf", &["-SW"]).contains(".debug_info"));
    let kept = Command::new("strip").arg("--only-keep-debug").arg(&debug).status().expect("strip");
    assert!(kept.success());
}

/// The frames in the program's file.
fn own_of<'a>(leaky: &Leaky, touch: &'a Value) -> Vec<&'a Value> {
    let is_own = |frame: &&Value| frame["module"] == leaky.executable().to_str().expect("UTF-8");
    list(&touch["stack"]).filter(is_own).collect()
}

fn assert_nameless(frame: &Value) {
    assert_eq!((&frame["function"], &frame["line"]), (&Value::Null, &Value::Null), "{frame:#}");
    assert_eq!(frame["build_id"].as_str().map(str::len), Some(40), "{frame:#}");
}

fn assert_names(frame: &Value, program: &Path, function: &str, place: &str) {
    let (name, line) = named_by(program, frame);
    assert!(name == function && line.contains(place), "{name} at {line} is not {function} at {place}");
}

/// Libraries that were loaded after the first stacks of their process, and are gone before anybody
/// asks. Nor is one taken for another that was at its place before.
#[test]
fn libraries_that_are_loaded_late_and_unloaded_again_are_named_to_the_line() {
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let source = fs::read_to_string(root().join("tests/leaky/plugin/plugin.c")).expect("the source");
    let line = |touch: &str| Some(marked_line(&source, &format!("plugin {touch}")));
    let program = |names: &[&'static str]| {
        let libraries: Vec<_> = names.iter().map(|name| (*name, beside_leaky_c(&format!("leaky-{name}.so")))).collect();
        let paths = libraries.iter().map(|(_, library)| library);
        (Child::spawn(namespace.command(beside_leaky_c("leaky-late")).args(paths)), libraries)
    };
    for (mut program, libraries) in [program(&["plugin"]), program(&["frameless", "next"])] {
        program.wait_for_line("done", seconds(40));
        let stdout = program.stdout();
        let places: HashSet<&str> = stdout.lines().filter(|line| line.starts_with("ready ")).collect();
        assert_eq!(places.len(), 1, "not at one place: {stdout}");
        let is_held = |report: &Value| sockets_of(report, program.pid()) >= 3 * libraries.len() as u64;
        let report = agent.wait_for("its sockets", seconds(20), is_held);
        let sites = sites_of(&report, program.pid());
        assert_eq!(sites.len(), libraries.len(), "{sites:#?}");
        for (name, library) in libraries {
            let is_its = |site: &&&Value| {
                own(&site["opened"], "plugin.c").first().is_some_and(|frame| frame.0 == format!("{name}_accept"))
            };
            let site = sites.iter().find(is_its).unwrap_or_else(|| panic!("none of {name}: {sites:#?}"));
            for (touch, function) in [("opened", format!("{name}_accept")), ("touched", format!("{name}_handle"))] {
                assert_eq!(own(&site[touch], "plugin.c")[0], (&*function, line(touch)), "{site:#}");
                let frame = frames_in(&site[touch]["stack"], "plugin.c")[0];
                assert_eq!(frame["module"], library.to_str().expect("UTF-8"), "{site:#}");
                assert!(list(&site[touch]["stack"]).any(|frame| frame["function"] == "main"), "{site:#}");
            }
            assert_whole(site);
        }
    }
}

/// The process that opened the sockets is gone, and its file replaced, before anybody asks for a name.
#[test]
fn the_path_of_a_process_that_died_is_complete() {
    needs(&["addr2line"]);
    let (namespace, agent) = (Netns::new(), Agent::start_with(&["--census-interval=1s"]));
    let site = site_of_the_dead(&namespace, &agent, Language::Cpp);
    let opened = own(&site["opened"], "leaky.cc");
    assert_eq!(opened.first().map(|frame| frame.0), Some("Server<Plain>::eof_forget_accept()"), "{site:#}");
    let touched = own(&site["touched"], "leaky.cc");
    assert_eq!(touched.first().map(|frame| frame.0), Some("Reader<Plain>::handle(int)"), "{site:#}");
    assert_whole(&site);

    let site = site_of_the_dead(&namespace, &agent, Language::StrippedCpp);
    assert_whole(&site);
    let source = fs::read_to_string(root().join(Language::Cpp.source())).expect("the source");
    for (touch, name) in
        [("opened", "_ZN6ServerI5PlainE17eof_forget_acceptEv"), ("touched", "_ZN6ReaderI5PlainE6handleEi")]
    {
        let innermost = list(&site[touch]["stack"]).find(|frame| frame["module"] == site["processes"][0]["exe"]);
        let innermost = innermost.unwrap_or_else(|| panic!("no frame of its own: {site:#}"));
        assert_nameless(innermost);
        let line = marked_line(&source, &format!("eof_forget {touch}"));
        assert_names(innermost, &Language::Cpp.program(), name, &format!("leaky.cc:{line}"));
    }
}

fn site_of_the_dead(namespace: &Netns, agent: &Agent, language: Language) -> Value {
    let way = way_named("eof_forget");
    let mut leaky = Leaky::start(namespace, language, way, &["--count", "3", "--for", "60", "--hand-over"]);
    let heir: u32 = leaky.child().wait_for_line("heir ", seconds(10)).parse().expect("a PID");
    fs::remove_file(leaky.executable()).expect("the executable");
    fs::copy("/bin/true", leaky.executable()).expect("another program");
    wait_for("the end of the process that opened", seconds(5), || leaky.child().try_wait().map(|_| ()));
    let is_held = |report: &Value| !sites_of(report, heir).is_empty();
    let report = agent.wait_for("its sockets", seconds(20), is_held);
    let sites = sites_of(&report, heir);
    let [site] = sites[..] else { panic!("{sites:#?}") };
    let heir = rustix::process::Pid::from_raw(heir as i32).expect("a PID");
    rustix::process::kill_process(heir, rustix::process::Signal::KILL).expect("to end it");
    site.clone()
}
