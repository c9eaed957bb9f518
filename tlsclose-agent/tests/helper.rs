//! The symbol helper as it really runs: what it has given up, and that it can still do its work.

use std::fs;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use object::{Object, ObjectSection, ObjectSymbol};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

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
    assert_eq!(line("Seccomp:"), "2", "system calls are filtered");
    assert_eq!(line("Threads:"), "1");
    if rustix::process::geteuid().is_root() {
        assert_eq!(line("Uid:"), "65534 65534 65534 65534");
        assert_eq!(line("Gid:"), "65534 65534 65534 65534");
        assert_eq!(line("Groups:"), "");
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    for limit in ["Max cpu time 600", "Max address space 2147483648", "Max core file size 0", "Max file size 0"] {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(limits.lines().any(|l| words(l).starts_with(limit)), "{limit}");
    }
    drop(socket);
    assert!(child.wait().unwrap().success());
}

fn send(socket: &UnixStream, request: &str, file: Option<&OwnedFd>) {
    let bytes = [&(request.len() as u32).to_le_bytes(), request.as_bytes()].concat();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = file.iter().map(|fd| fd.as_fd()).collect();
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let sent = sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::empty());
    assert_eq!(sent.unwrap(), bytes.len());
}

#[test]
fn a_file_that_only_the_agent_could_read_is_named_by_the_confined_helper() {
    let program = fs::read(env!("CARGO_BIN_EXE_tlsclose")).unwrap();
    let elf = object::File::parse(&*program).unwrap();
    let main = elf.symbol_by_name("main").unwrap().address();
    let text = elf.section_by_name(".text").unwrap();
    let offset = main - text.address() + text.file_range().unwrap().0;
    let memory = rustix::fs::memfd_create("program", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut memory = fs::File::from(memory);
    memory.write_all(&program).unwrap();

    let (mut child, socket) = helper();
    message(&socket);
    let file = OwnedFd::from(memory);
    send(&socket, r#"{"Load":{"module":1,"debug_info":true}}"#, Some(&file));
    let loaded = message(&socket);
    assert!(loaded.contains("Loaded"), "{loaded}");
    let place = format!(r#"{{"offset":{offset},"is_return_address":false}}"#);
    send(&socket, &format!(r#"{{"Names":{{"module":1,"by_debug":false,"places":[{place}]}}}}"#), None);
    let names = message(&socket);
    assert!(names.contains(r#""function":"main""#), "{names}");
    drop(socket);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_helper_that_is_told_nonsense_ends() {
    let (mut child, mut socket) = helper();
    message(&socket);
    socket.write_all(b"\xff\xff\xff\xff{}").unwrap();
    assert!(!child.wait().unwrap().success());
}
