use std::path::Path;

use super::*;
use std::fs;
use std::os::unix::fs::symlink;

const STARTED_AT: u64 = 5_000_000_000;

/// A procfs with one process, 42, that started 5 s after boot.
fn fake(name: &[u8]) -> (tempfile::TempDir, Procfs) {
    let root = tempfile::tempdir().unwrap();
    let procfs = Procfs::new(root.path());
    let dir = root.path().join("42");
    fs::create_dir_all(dir.join("fd")).unwrap();
    for fd in 0..3 {
        fs::write(dir.join(format!("fd/{fd}")), "").unwrap();
    }
    let ticks = 5 * procfs.ticks;
    let mut stat = b"42 (".to_vec();
    stat.extend(name);
    stat.extend(format!(") S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 {ticks} 1 2\n").as_bytes());
    fs::write(dir.join("stat"), stat).unwrap();
    fs::write(dir.join("comm"), [name, b"\n"].concat()).unwrap();
    fs::write(dir.join("cmdline"), b"/srv/p y\0--token\0a\x1b[31m\0").unwrap();
    fs::write(dir.join("status"), "Name:\tx\\nUid:\t7\nUid:\t1000\t0\t0\t0\nNSpid:\t42\t9\t1\nVmRSS:\t    2048 kB\n")
        .unwrap();
    fs::write(
        dir.join("limits"),
        "Limit                     Soft Limit           Hard Limit           Units\n\
         Max open files            1024                 524288               files\n",
    )
    .unwrap();
    symlink("/srv/p y (deleted)", dir.join("exe")).unwrap();
    (root, procfs)
}

fn id(started_at: u64) -> ProcessId {
    ProcessId { tgid: 42, started_at }
}

#[test]
fn a_process_is_described_whatever_it_calls_itself() {
    let names: [(&[u8], &str); 6] = [
        (b"nginx", "nginx"),
        (b"a) S 1 2 (b", "a) S 1 2 (b"),
        (b"x\nUid:\t0", "x\\nUid:\\t0"),
        (b"\"quoted\"", "\"quoted\""),
        (b"\xff\xfe", "\u{fffd}\u{fffd}"),
        (
            b"kworker/u8:3-events_power_efficient-and-so-on-up-to-64-character",
            "kworker/u8:3-events_power_efficient-and-so-on-up-to-64-character",
        ),
    ];
    for (name, shown) in names {
        let (_root, procfs) = fake(name);
        let identity = procfs.identity(id(STARTED_AT), None).unwrap();
        assert_eq!(identity.comm, shown);
        assert_eq!((identity.pid, identity.ns_pid, identity.uid), (42, 1, 1000), "{shown}");
        assert_eq!(identity.exe, "/srv/p y");
        assert_eq!(identity.cmdline, None);
    }
}

#[test]
fn another_process_with_the_same_pid_has_no_name() {
    let (_root, procfs) = fake(b"nginx");
    let tick = 1_000_000_000 / procfs.ticks;
    assert!(procfs.identity(id(STARTED_AT + tick - 1), None).is_some());
    for other in [STARTED_AT + 2 * tick, STARTED_AT - 2 * tick, 0, u64::MAX] {
        assert_eq!(procfs.identity(id(other), None), None);
        assert_eq!(procfs.vitals(id(other)), None);
    }
}

#[test]
fn a_command_line_is_read_only_when_asked_for_and_is_printable() {
    let (_root, procfs) = fake(b"nginx");
    let identity = procfs.identity(id(STARTED_AT), Some(&mut Worker::default())).unwrap();
    assert_eq!(identity.cmdline.unwrap(), ["/srv/p y", "--token", "a\\u{1b}[31m"]);
}

#[test]
fn vitals_that_cannot_be_read_are_unknown() {
    let (root, procfs) = fake(b"nginx");
    let vitals = procfs.vitals(id(STARTED_AT)).unwrap();
    assert_eq!(vitals.open_fds, Some(3));
    assert_eq!(vitals.max_fds, Some(1024));
    assert_eq!(vitals.rss_bytes, Some(2 << 20));

    fs::write(root.path().join("42/limits"), "Max open files            unlimited unlimited files\n").unwrap();
    fs::remove_file(root.path().join("42/status")).unwrap();
    let vitals = procfs.vitals(id(STARTED_AT)).unwrap();
    assert_eq!((vitals.max_fds, vitals.rss_bytes), (None, None));
}

#[test]
fn garbage_in_procfs_is_no_process() {
    for stat in [&b""[..], b")", b"42 (x) S", b"42 (x) S 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 x", b"\xff"] {
        assert_eq!(start_ticks(stat), None);
    }
    let (root, procfs) = fake(b"nginx");
    fs::write(root.path().join("42/status"), b"Uid:\tx\n").unwrap();
    assert_eq!(procfs.identity(id(STARTED_AT), None), None);
}

/// `start_boottime` of this process, to the tick.
pub(in crate::attribution) fn own_id() -> ProcessId {
    let ticks = start_ticks(&fs::read("/proc/self/stat").unwrap()).unwrap();
    ProcessId {
        tgid: std::process::id(),
        started_at: ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second()),
    }
}

#[test]
fn our_own_process_is_described() {
    let procfs = Procfs::new("/proc");
    let identity = procfs.identity(own_id(), Some(&mut Worker::default())).unwrap();
    let exe = std::env::current_exe().unwrap();
    assert_eq!(Path::new(&identity.exe), exe);
    assert_eq!(identity.uid, rustix::process::getuid().as_raw());
    assert!(!identity.cmdline.unwrap().is_empty());
    let started: jiff::Timestamp = identity.started_at.parse().unwrap();
    let age = jiff::Timestamp::now().as_second() - started.as_second();
    assert!((-1..600).contains(&age), "{age}");

    let vitals = procfs.vitals(own_id()).unwrap();
    assert!(vitals.open_fds.unwrap() >= 3);
    assert!(vitals.max_fds.unwrap() >= 3);
    assert!(vitals.rss_bytes.unwrap() > 1 << 16);
}
