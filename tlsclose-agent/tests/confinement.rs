//! What the symbol helper has given up by the time it says that it is ready.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

fn helper() -> (Child, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_tlsclose"))
        .arg("symbolize")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .unwrap();
    (child, ours)
}

/// A message: its length in four bytes, then JSON.
fn message(mut socket: &UnixStream) -> String {
    let mut length = [0; 4];
    socket.read_exact(&mut length).unwrap();
    let mut body = vec![0; u32::from_le_bytes(length) as usize];
    socket.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

#[test]
fn the_helper_has_no_privileges_and_ends_with_its_socket() {
    let (mut child, socket) = helper();
    assert!(message(&socket).contains("Ready"));
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = |key: &str| {
        let found = status.lines().find_map(|line| line.strip_prefix(key));
        let words = found.unwrap().split_whitespace();
        words.collect::<Vec<_>>().join(" ")
    };
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(line(set), "0000000000000000", "{set}");
    }
    assert_eq!(line("NoNewPrivs:"), "1");
    assert_eq!(line("Threads:"), "1");
    if rustix::process::geteuid().is_root() {
        assert_eq!(line("Uid:"), "65534 65534 65534 65534");
        assert_eq!(line("Gid:"), "65534 65534 65534 65534");
        assert_eq!(line("Groups:"), "");
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    for limit in ["Max address space 2147483648", "Max core file size 0", "Max file size 0"] {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(limits.lines().any(|l| words(l).starts_with(limit)), "{limit}");
    }
    drop(socket);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_helper_that_is_told_nonsense_ends() {
    let (mut child, mut socket) = helper();
    message(&socket);
    std::io::Write::write_all(&mut socket, b"\xff\xff\xff\xff{}").unwrap();
    assert!(!child.wait().unwrap().success());
}
