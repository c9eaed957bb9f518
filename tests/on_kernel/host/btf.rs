//! `--btf`: what is refused because it is not this kernel's type information, and how soon.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;
use tlsclose_tests::agent::{Agent, tlsclose_command};
use tlsclose_tests::btf::{OF_THIS_KERNEL, with_moved_member};
use tlsclose_tests::child::run;
use tlsclose_tests::expect::{assert_names_everything, wait_for_site};
use tlsclose_tests::host::{free_port, needs, root, tool};
use tlsclose_tests::leaky::{Language, Leaky, way_named};
use tlsclose_tests::netns::Netns;
use tlsclose_tests::{patient, seconds};

use crate::serving::command_line::assert_one_line;

/// The agent's start with these types.
fn agent_with(btf: &Path, directory: &TempDir) -> Command {
    let mut command = tlsclose_command(&["agent", "--btf"]);
    command.arg(btf).arg("--socket").arg(directory.path().join("agent.sock"));
    command.arg(format!("--web.listen-address=127.0.0.1:{}", free_port()));
    command
}

fn assert_refused(btf: &Path, directory: &TempDir, says: &str) {
    let output = run(&mut agent_with(btf, directory), seconds(30));
    assert_one_line(&output, 1, says);
}

/// Each is accepted by the kernel, and would show ports, addresses, states or owners that are not true.
#[test]
fn a_field_that_lies_elsewhere_is_noticed_before_anything_is_said() {
    let moved = [
        ("sock_common", "skc_dport", 2, "its remote port"),
        ("sock_common", "skc_daddr", 4, "its remote address"),
        ("sock_common", "skc_state", -2, "socket"),
        ("tcp_sock", "rcv_nxt", 4, "socket"),
        ("task_struct", "tgid", 8, "socket"),
    ];
    let directory = TempDir::new().expect("a directory");
    for (structure, member, bytes, says) in moved {
        let btf = directory.path().join(member);
        with_moved_member(structure, member, bytes, &btf);
        let output = run(&mut agent_with(&btf, &directory), seconds(30));
        assert_one_line(&output, 1, "the agent misreads sockets of its own: ");
        assert!(output.stderr.contains(says) && output.stderr.contains(member), "{output:?}");
        fs::remove_file(btf).expect("the file");
    }
}

#[test]
fn types_in_a_file_do_as_well_as_those_that_the_kernel_shows() {
    let directory = TempDir::new().expect("a directory");
    let btf = directory.path().join("vmlinux.btf");
    fs::copy(OF_THIS_KERNEL, &btf).expect("a copy");
    let namespace = Netns::new();
    let agent = Agent::start_with(&[&format!("--btf={}", btf.display())]);
    let mut leaky = Leaky::start(&namespace, Language::C, way_named("eof_forget"), &["--count", "3", "--for", "60"]);
    leaky.ready();
    assert_names_everything(&wait_for_site(&agent, &leaky, 3), &mut leaky);
    assert_eq!(agent.metrics().sum("tlsclose_feature", &[("feature", "self_check")]), Some(1.0));
}

#[test]
fn what_is_no_type_information_is_refused_in_one_line_and_at_once() {
    needs(&["mkfifo"]);
    let directory = TempDir::new().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let whole = fs::read(OF_THIS_KERNEL).expect("types");
    fs::write(at("cut"), &whole[..whole.len() / 2]).expect("a file");
    fs::write(at("garbage"), "no types at all").expect("a file");
    fs::write(at("empty"), "").expect("a file");
    // What archives begin with: xz, gzip, zstd.
    fs::write(at("vmlinux.btf.tar.xz"), b"\xfd7zXZ\0\0\x04").expect("a file");
    fs::write(at("vmlinux.gz"), b"\x1f\x8b\x08\0").expect("a file");
    fs::create_dir(at("directory")).expect("a directory");
    assert_eq!(run(Command::new(tool("mkfifo")).arg(at("fifo")), seconds(5)).code, Some(0));
    let cases = [
        ("cut", "damaged"),
        ("garbage", "no BTF"),
        ("empty", "no BTF"),
        ("vmlinux.btf.tar.xz", "unpack it"),
        ("vmlinux.gz", "unpack it"),
        ("directory", "no regular file"),
        ("fifo", "no regular file"),
        ("nothing", "No such file"),
    ];
    let start = Instant::now();
    for (name, says) in cases {
        assert_refused(&at(name), &directory, says);
    }
    assert!(start.elapsed() < patient(seconds(10)), "{:?}", start.elapsed());
    // An ELF file has a section of that name.
    assert_refused(Path::new("/bin/sh"), &directory, "ELF");
}

/// Those that were recorded: none is of this kernel, whose own recorded types number them otherwise, and one is of
/// another processor.
#[test]
fn recorded_types_of_six_kernels_are_refused() {
    let directory = TempDir::new().expect("a directory");
    let mut refused = 0;
    for entry in fs::read_dir(root().join("tests/data/btf")).expect("recorded types").flatten() {
        let is_of_arm64 = entry.file_name().to_string_lossy().starts_with("arm64");
        let says = if is_of_arm64 { "no field `ip` in `struct pt_regs`" } else { "those of this kernel?" };
        assert_refused(&entry.path(), &directory, says);
        refused += 1;
    }
    assert_eq!(refused, 6);
}
