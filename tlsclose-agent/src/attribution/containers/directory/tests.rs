use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use super::*;

const ID: &str = "3f4a1c0d9e8b7a6f5e4d3c2b1a09f8e7d6c5b4a392817f6e5d4c3b2a19087f6e";
const QUICK: Duration = Duration::from_millis(100);

fn directory(socket: PathBuf) -> Directory {
    Directory { deadline: QUICK, ..Directory::new(Path::new("/proc"), Some(socket)) }
}

/// Asks until there is an answer; every question must return at once.
fn settled(directory: &mut Directory) -> Lookup {
    let end = Instant::now() + 2 * PATIENCE;
    loop {
        let asked = Instant::now();
        let lookup = directory.lookup(ID);
        assert!(asked.elapsed() < QUICK, "a lookup waited");
        if lookup != Lookup::Pending {
            return lookup;
        }
        assert!(Instant::now() < end, "pending for ever");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn without_a_runtime_a_container_has_no_names() {
    let nowhere = tempfile::tempdir().unwrap();
    let mut directory = directory(nowhere.path().join("none.sock"));
    assert_eq!(directory.lookup(ID), Lookup::Pending);
    assert_eq!(settled(&mut directory), Lookup::Unknown);
}

#[test]
fn a_runtime_that_never_answers_delays_nobody() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("hung.sock");
    // Connections are taken into its queue, and never looked at.
    let _runtime = UnixListener::bind(&socket).unwrap();
    assert_eq!(settled(&mut directory(socket)), Lookup::Unknown);
}

#[test]
fn a_runtime_that_talks_nonsense_names_nothing() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("nonsense.sock");
    let runtime = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        for connection in runtime.incoming() {
            let Ok(mut connection) = connection else { return };
            let _ = connection.write_all(&vec![b'x'; 64 << 10]);
            let _ = connection.read(&mut [0; 1024]);
        }
    });
    assert_eq!(settled(&mut directory(socket)), Lookup::Unknown);
}

#[test]
fn what_is_remembered_is_bounded() {
    let nowhere = tempfile::tempdir().unwrap();
    let mut directory = directory(nowhere.path().join("none.sock"));
    for number in 0..2 * MAX_CONTAINERS {
        directory.lookup(&format!("{number:064x}"));
    }
    assert!(lock(&directory.entries).len() <= MAX_CONTAINERS + MAX_WAITING);
}

#[test]
fn a_runtime_of_the_host_is_found_through_its_first_process() {
    let procfs = tempfile::tempdir().unwrap();
    let run = procfs.path().join("1/root/run/containerd");
    std::fs::create_dir_all(&run).unwrap();
    let runtime = UnixListener::bind(run.join("containerd.sock")).unwrap();
    let mut directory = Directory { deadline: QUICK, ..Directory::new(procfs.path(), None) };
    assert_eq!(directory.lookup(ID), Lookup::Pending);
    // It blocks until the thread has come.
    let (mut connection, _) = runtime.accept().unwrap();
    let mut preface = [0; 24];
    connection.read_exact(&mut preface).unwrap();
    assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
}
