//! Functions of JIT compilers, by the maps that they write for perf.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use tlsclose_tests::agent::Agent;
use tlsclose_tests::child::{Child, run};
use tlsclose_tests::host::{beside_leaky_c, needs, root, tool};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{function, list, process_of, sites_of, sockets_of};
use tlsclose_tests::seconds;

/// The map of a process, gone when dropped.
struct Map(PathBuf);

impl Map {
    fn of(pid: u32) -> Map {
        Map(PathBuf::from(format!("/tmp/perf-{pid}.map")))
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A client in JavaScript that leaks 8 sockets. It leaves a log where it runs.
fn node_arguments(flags: &[&str], go: &Path) -> Vec<String> {
    let script = root().join("tests/leaky/node/leaky.js");
    let own = [script.to_str(), Some("8"), Some("60"), go.to_str()].map(|word| word.expect("UTF-8"));
    flags.iter().copied().chain(own).map(str::to_owned).collect()
}

fn connected(report: &Value, pid: u32) -> Option<&Value> {
    sites_of(report, pid).into_iter().find(|site| site["opened"]["call"] == "connect")
}

/// node:net connects in a later tick, where the caller of net.connect() is not on the stack.
fn assert_names_javascript(site: &Value) {
    let frame = list(&site["opened"]["stack"]).find(|frame| {
        frame["function"].as_str().is_some_and(|function| function.starts_with("internalConnect (node:net:"))
    });
    let frame = frame.unwrap_or_else(|| panic!("no function of its own: {site:#}"));
    assert_eq!(frame["file"], "node:net", "{frame:#}");
    assert_eq!(frame["line"], Value::Null, "the map does not know the line of the call: {frame:#}");
    assert_eq!(site["opened"]["whole"], true, "{site:#}");
}

const WITH_MAP: [&str; 2] = ["--perf-basic-prof", "--interpreted-frames-native-stack"];

#[test]
fn javascript_is_named_where_node_writes_a_perf_map() {
    needs(&["node"]);
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let directory = TempDir::new().expect("a directory");
    let mut node = namespace.command(tool("node"));
    let node = node.current_dir(directory.path()).args(node_arguments(&WITH_MAP, Path::new("/")));
    let mut node = Child::spawn(node);
    let _map = Map::of(node.pid());
    assert_eq!(node.wait_for_line("ready ", seconds(20)), "8");
    let closed = |report: &Value| connected(report, node.pid()).is_some_and(|site| !site["usual_close"].is_null());
    let report = agent.wait_for("its sockets and their siblings", seconds(20), closed);
    let site = connected(&report, node.pid()).expect("the site");
    assert_names_javascript(site);
    let usual = &site["usual_close"];
    let is_its = |frame: &Value| frame["function"].as_str().is_some_and(|name| name.starts_with("closeFinished ("));
    assert!(list(&usual["stack"]).any(is_its), "{usual:#}");
    assert_eq!(usual["whole"], true, "{usual:#}");
}

/// As in a container: a /tmp of its own, and another PID there.
#[test]
fn a_perf_map_is_read_from_the_programs_own_mount_and_pid_namespace() {
    needs(&["node", "unshare"]);
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let inside = r#"mount -t tmpfs none /tmp && cd /tmp && cat > leaky.js <&3 && echo "inside $$" && exec "$@""#;
    let outside = format!(
        r#"exec 3< "{}"; exec unshare --pid --fork --kill-child --mount --mount-proc sh -c '{inside}' sh "$@""#,
        root().join("tests/leaky/node/leaky.js").display()
    );
    let mut unshare = namespace.command("sh");
    unshare.args(["-c", &outside, "sh"]).arg(tool("node")).args(WITH_MAP).args(["/tmp/leaky.js", "8", "60"]);
    let mut unshare = Child::spawn(&mut unshare);
    assert_eq!(unshare.wait_for_line("inside ", seconds(10)), "1");
    assert_eq!(unshare.wait_for_line("ready ", seconds(20)), "8");
    let node = *unshare.tree().last().expect("node");
    let report = agent.wait_for("its sockets", seconds(20), |report| connected(report, node).is_some());
    let site = connected(&report, node).expect("the site");
    let process = process_of(site, node).expect("its process");
    assert_eq!(process["ns_pid"], 1, "{process:#}");
    assert!(!Map::of(node).0.exists() && !Map::of(1).0.exists(), "the map is there on the host");
    assert_names_javascript(site);
}

/// Anybody may put something at such a path. What is no regular file of the process's own user is
/// left alone, and the finding comes in time without it.
#[test]
fn traps_in_place_of_a_perf_map_cost_names_and_nothing_else() {
    needs(&["node", "mkfifo"]);
    /// One function over all addresses that JIT code can have.
    const ALL: &str = "1000 7ffffffff000 made_up\n";
    let (namespace, agent) = (Netns::new(), Agent::shared());
    let directory = TempDir::new().expect("a directory");
    let real = directory.path().join("real.map");
    fs::write(&real, ALL).expect("a map");
    let make_fifo = |at: &Path| {
        let made = run(namespace.command(tool("mkfifo")).arg(at), seconds(10));
        assert_eq!(made.code, Some(0), "{}", made.stderr);
    };
    let make_foreign = |at: &Path| {
        fs::write(at, ALL).expect("a map");
        chown(at, Some(65_534), None).expect("another owner");
    };
    type Make<'a> = &'a dyn Fn(&Path);
    let traps: [(&str, Make<'_>, bool); 4] = [
        ("a proper map", &|at| fs::write(at, ALL).expect("a map"), true),
        ("a FIFO", &make_fifo, false),
        ("a link", &|at| symlink(&real, at).expect("a link"), false),
        ("another user's map", &make_foreign, false),
    ];
    // One at a time: a busy machine has no room for the copies of all their stacks.
    for (what, make, is_read) in traps {
        let go = directory.path().join(what);
        let mut node = namespace.command(tool("node"));
        let mut node = Child::spawn(node.args(node_arguments(&["--interpreted-frames-native-stack"], &go)));
        node.wait_for_line("waiting", seconds(20));
        let map = Map::of(node.pid());
        make(&map.0);
        fs::write(&go, "").expect("a file");
        assert_eq!(node.wait_for_line("ready ", seconds(20)), "8");
        let report = agent.wait_for(what, seconds(20), |report| connected(report, node.pid()).is_some());
        let opened = &connected(&report, node.pid()).expect("the site")["opened"];
        let made_up = list(&opened["stack"]).any(|frame| function(frame) == "made_up");
        assert_eq!(made_up, is_read, "{what}: {opened:#}");
        assert!(list(&opened["stack"]).any(|frame| function(frame) == "uv__tcp_connect"), "{what}: {opened:#}");
    }
}

/// HotSpot's compiled code keeps frame pointers when it is told to, and only then leads anywhere.
#[test]
fn java_is_named_where_it_keeps_frame_pointers_and_wrote_a_perf_map() {
    needs(&["java", "jcmd"]);
    const MAIN: &str = "Leaky.main(java.lang.String[])";
    let namespace = Netns::new();
    let directory = TempDir::new().expect("a directory");
    let classes = beside_leaky_c("../java/Leaky.class");
    let start = |name: &str, flags: &[&str]| {
        let go = directory.path().join(name);
        let mut java = namespace.command(tool("java"));
        // All is compiled at its first call, and a function stays one.
        java.args(flags).args([
            "-Xcomp",
            "-XX:TieredStopAtLevel=1",
            "-XX:CompileCommand=quiet",
            "-XX:CompileCommand=dontinline,Leaky::*",
        ]);
        java.arg("-cp").arg(classes.parent().expect("a directory")).args(["Leaky", "3", "60"]).arg(&go);
        let mut java = Child::spawn(&mut java);
        java.wait_for_line("warm ", seconds(60));
        let written =
            run(namespace.command(tool("jcmd")).arg(java.pid().to_string()).arg("Compiler.perfmap"), seconds(60));
        assert_eq!(written.code, Some(0), "{} {}", written.stdout, written.stderr);
        let map = Map::of(java.pid());
        assert!(map.0.is_file());
        (java, map, go)
    };
    let programs = [("told", ["-XX:+PreserveFramePointer"].as_slice(), true), ("not told", &[], false)];
    let programs = programs.map(|(name, flags, is_named)| (start(name, flags), is_named));
    // From now on: nothing that came before the maps is remembered.
    let agent = Agent::start();
    for ((mut java, _map, go), is_named) in programs {
        fs::write(&go, "").expect("a file");
        assert_eq!(java.wait_for_line("ready ", seconds(20)), "3");
        agent.wait_for("its sockets", seconds(20), |report| sockets_of(report, java.pid()) >= 3);
        agent.wait_for_censuses(2);
        let report = agent.leaks();
        let site = sites_of(&report, java.pid())[0];
        let accept = "Leaky.eofForgetAccept(java.net.ServerSocket)";
        let touches = [
            ("opened", accept),
            ("touched", "Leaky.eofForgetHandle(java.net.Socket)"),
            ("usual_close", "Leaky.eofForgetClose(java.net.Socket)"),
        ];
        for (touch, innermost) in touches {
            let touch = &site[touch];
            let own: Vec<&str> = list(&touch["stack"]).filter_map(|frame| frame["function"].as_str()).collect();
            let own: Vec<&str> = own.into_iter().filter(|function| function.starts_with("Leaky.")).collect();
            assert_eq!(touch["whole"], is_named, "{touch:#}");
            if !is_named {
                assert!(own.is_empty(), "{touch:#}");
                continue;
            }
            assert_eq!(own, [innermost, "Leaky.serve(java.net.ServerSocket, int)", MAIN], "{touch:#}");
        }
    }
}
