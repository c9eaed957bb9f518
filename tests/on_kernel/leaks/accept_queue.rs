//! Connections that nobody accepts are found in the queue of their listener.

use serde_json::Value;
use tlsclose_tests::agent::{Agent, tlsclose_command};
use tlsclose_tests::child::{Child, run};
use tlsclose_tests::expect::wait_for_site;
use tlsclose_tests::host::{needs, root, tool, unique_comm};
use tlsclose_tests::leaky::{Language, Leaky, Way};
use tlsclose_tests::metrics::Metrics;
use tlsclose_tests::netns::Netns;
use tlsclose_tests::report::{frames_in, function, line_in, list, sites_of, sockets_of};
use tlsclose_tests::seconds;

const SOURCE: &str = "tests/leaky/c/queue.c";

/// The peers sent four bytes and a FIN.
const QUEUE: Way = Way {
    name: "queue",
    kind: "close_wait_not_accepted",
    state: "close_wait",
    recv_queue: 5,
    is_client: false,
    touched: None,
};

fn start(namespace: &Netns, arguments: &[&str]) -> Leaky {
    let mut queue = Leaky::start(namespace, Language::C, &QUEUE, &[&["--for", "60"], arguments].concat());
    queue.ready();
    queue
}

/// The innermost frame of the program's own code.
fn place(touch: &Value) -> (&str, Option<u64>) {
    let frame = *frames_in(&touch["stack"], SOURCE).first().unwrap_or_else(|| panic!("no frame of it: {touch:#}"));
    (function(frame), frame["line"].as_u64())
}

fn line(what: &str) -> Option<u64> {
    Some(line_in(SOURCE, what))
}

fn gauge(metrics: &Metrics, name: &str, comm: &str) -> Option<f64> {
    metrics.sum(name, &[("comm", comm)])
}

#[test]
fn connections_given_up_in_an_accept_queue_name_listener_and_last_accept() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    for family in ["4", "6"] {
        let mut queue = start(&namespace, &["--count", "7", "--family", family]);
        let site = wait_for_site(&agent, &queue, 7);
        assert_eq!(site["kind"], "close_wait_not_accepted", "{site:#}");
        assert_eq!((&site["age_is_minimum"], &site["adopted"]), (&false.into(), &0.into()), "{site:#}");
        assert_eq!(site["opened"]["call"], "listen", "{site:#}");
        assert_eq!(place(&site["opened"]), ("queue_listen", line("queue opened")), "{site:#}");
        assert_eq!(site["touched"]["call"], "accept4", "{site:#}");
        assert_eq!(place(&site["touched"]), ("queue_accept", line("queue touched")), "{site:#}");
        let port = format!(":{}", queue.port());
        for example in list(&site["examples"]) {
            assert_eq!(example["state"], "close_wait", "{example:#}");
            assert_eq!(example["recv_queue"], 5, "{example:#}");
            assert!(example["local"].as_str().is_some_and(|local| local.ends_with(&port)), "{example:#}");
        }
        let [waiting] = &list(&site["accept_queues"]).collect::<Vec<_>>()[..] else { panic!("{site:#}") };
        assert_eq!(
            (&waiting["length"], &waiting["limit"], &waiting["half_closed"], &waiting["netns"]),
            (&7.into(), &100.into(), &7.into(), &namespace.inode().into()),
            "{site:#}"
        );
        assert!(waiting["local"].as_str().is_some_and(|local| local.ends_with(&port)), "{waiting:#}");
        let [holder] = &list(&waiting["holders"]).collect::<Vec<_>>()[..] else { panic!("{waiting:#}") };
        assert_eq!(holder["pid"], queue.pid(), "{waiting:#}");
        let metrics = agent.metrics();
        assert_eq!(gauge(&metrics, "tlsclose_accept_queue_length", &queue.comm), Some(7.0));
        assert_eq!(gauge(&metrics, "tlsclose_accept_queue_limit", &queue.comm), Some(100.0));
    }
}

#[test]
fn a_queue_older_than_the_agent_is_found_with_a_lower_bound_of_its_age() {
    let namespace = Netns::new();
    let queue = start(&namespace, &["--count", "5"]);
    let agent = Agent::start();
    let site = wait_for_site(&agent, &queue, 5);
    assert_eq!(site["kind"], "close_wait_not_accepted", "{site:#}");
    assert_eq!((&site["opened"], &site["touched"]), (&Value::Null, &Value::Null), "{site:#}");
    assert_eq!((&site["age_is_minimum"], &site["adopted"]), (&true.into(), &5.into()), "{site:#}");
}

#[test]
fn a_listener_that_workers_share_counts_once_and_names_them_all() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let mut queue = start(&namespace, &["--count", "6", "--processes", "3"]);
    let report = agent.wait_for("6 sockets", seconds(20), |report| total(report, &namespace) >= 6);
    let sites = sites_in(&report, &namespace);
    let [site] = sites[..] else { panic!("{sites:#?}") };
    assert_eq!(site["sockets"], 6, "{site:#}");
    let [waiting] = &list(&site["accept_queues"]).collect::<Vec<_>>()[..] else { panic!("{site:#}") };
    assert_eq!(waiting["length"], 6, "{site:#}");
    let mut pids: Vec<_> = list(&waiting["holders"]).filter_map(|holder| holder["pid"].as_u64()).collect();
    let peer = queue.peer();
    let mut tree: Vec<_> = queue.child().tree().into_iter().filter(|pid| *pid != peer).map(u64::from).collect();
    pids.sort_unstable();
    tree.sort_unstable();
    assert_eq!(pids, tree, "{site:#}");
}

/// The kernel hands out a census in pieces, and what does not fit into one is shown again.
#[test]
fn of_many_shared_queues_none_is_missed() {
    let namespace = Netns::new();
    let _queues: Vec<_> = (0..10).map(|_| start(&namespace, &["--count", "32", "--processes", "2"])).collect();
    let agent = Agent::start();
    agent.wait_for("all of them", seconds(20), |report| total(report, &namespace) == 320);
    agent.wait_for_censuses(2);
    let report = agent.leaks();
    assert_eq!(total(&report, &namespace), 320, "{report:#}");
}

#[test]
fn every_listener_of_a_reuseport_group_has_its_own_queue() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let queue = start(&namespace, &["--count", "40", "--threads", "4"]);
    let site = wait_for_site(&agent, &queue, 40);
    let lengths: Vec<_> = list(&site["accept_queues"]).filter_map(|queue| queue["length"].as_u64()).collect();
    assert_eq!((lengths.len(), lengths.iter().sum::<u64>()), (4, 40), "{site:#}");
}

#[test]
fn of_a_long_queue_32_are_shown_one_by_one_and_all_are_counted() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let queue = start(&namespace, &["--count", "90"]);
    let site = wait_for_site(&agent, &queue, 32);
    assert_eq!(site["accept_queues"][0]["half_closed"], 90, "{site:#}");
    let report = agent.leaks();
    let is_cut = list(&report["incomplete"]).any(|reason| reason == "accept_queue_cut");
    assert!(is_cut && report["complete"] == false, "58 of them are in no site: {}", report["incomplete"]);
    // And that is what people are told, not another reason.
    let said = run(tlsclose_command(&["leaks", "--socket"]).arg(agent.socket()), seconds(10)).stdout;
    let told = said.lines().find_map(|line| line.strip_prefix("counts may be off: ")).unwrap_or_default();
    assert!(told.contains("an accept queue holds more") && !told.contains("PID namespace"), "{told}");
}

#[test]
fn what_is_accepted_and_closed_after_all_has_ended() {
    let namespace = Netns::new();
    let agent = Agent::shared();
    let mut queue = start(&namespace, &["--count", "6", "--recover-after", "10"]);
    wait_for_site(&agent, &queue, 6);
    queue.recovered();
    agent.wait_for("no sockets", seconds(10), |report| sockets_of(report, queue.pid()) == 0);
    assert_eq!(gauge(&agent.metrics(), "tlsclose_accept_queue_length", &queue.comm), None);
}

/// Sites with examples in the namespace.
fn sites_in<'a>(report: &'a Value, namespace: &Netns) -> Vec<&'a Value> {
    let is_there = |site: &&Value| list(&site["examples"]).any(|example| example["netns"] == namespace.inode());
    list(&report["sites"]).filter(is_there).collect()
}

fn total(report: &Value, namespace: &Netns) -> u64 {
    sites_in(report, namespace).iter().filter_map(|site| site["sockets"].as_u64()).sum()
}

#[test]
fn connections_on_their_way_into_a_queue_are_counted_beside_it() {
    needs(&["python3"]);
    let namespace = Netns::new();
    for command in [
        "link add d0 type veth peer name d1",
        "addr add 10.9.9.1/24 dev d0",
        "link set d0 up",
        "link set d1 up",
        "neigh add 10.9.9.77 lladdr 02:00:00:00:00:01 dev d0 nud permanent",
    ] {
        namespace.ip(command);
    }
    let agent = Agent::shared();
    let comm = unique_comm();
    let script = root().join("tests/leaky/python/syn_recv.py");
    let mut listener = Child::spawn(namespace.command(tool("python3")).arg(script).args(["7", &comm]));
    listener.wait_for_line("ready ", seconds(10));
    let queue_of = |report: &Value| -> Option<Value> {
        let sites = sites_of(report, listener.pid());
        sites.first().map(|site| site["accept_queues"][0].clone())
    };
    let is_so = |queue: &Value| queue["syn_recv"] == 7 && queue["syn_recv_unanswered"] == 7;
    let report = agent.wait_for("7 unanswered", seconds(20), |report| queue_of(report).as_ref().is_some_and(is_so));
    let queue = queue_of(&report).expect("a queue");
    assert_eq!((&queue["length"], &queue["limit"]), (&1.into(), &128.into()), "{queue:#}");
    let metrics = agent.metrics();
    assert_eq!(gauge(&metrics, "tlsclose_accept_queue_syn_recv", &comm), Some(7.0));
    assert_eq!(gauge(&metrics, "tlsclose_accept_queue_length", &comm), Some(1.0));
    let all = metrics.sum("tlsclose_sockets", &[("state", "syn_recv")]);
    assert!(all >= Some(7.0), "{all:?}");
}
