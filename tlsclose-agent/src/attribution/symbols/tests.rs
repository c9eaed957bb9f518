//! With a real helper: this test program, run again.

use super::*;
use crate::attribution::modules::MappedModules;
use crate::attribution::process::{ProcessId, Procfs, tests::own_id};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use tlsclose_common::facts::leaf;

const HELPER: &str = "TLSCLOSE_TEST_IS_HELPER";

/// Not a test: what the helper process runs. It is confined as a thread only, because the test
/// harness has one more.
#[test]
fn helper_process() {
    if std::env::var_os(HELPER).is_some() {
        std::process::exit(i32::from(
            helper::helper_main() != std::process::ExitCode::SUCCESS,
        ));
    }
}

fn symbolizer() -> Symbolizer {
    let arguments = [
        "--exact",
        "attribution::symbols::tests::helper_process",
        "--nocapture",
    ];
    Symbolizer::new(Launch {
        program: "/proc/self/exe".into(),
        arguments: arguments.map(Into::into).to_vec(),
        environment: vec![(HELPER.into(), "1".into())],
    })
}

/// A process that only maps a file, for that file to become a module.
struct Mapped {
    modules: Modules,
    mapped: MappedModules,
}

impl Mapped {
    fn of(id: ProcessId) -> Self {
        let mut modules = Modules::new(Procfs::new("/proc"));
        let mapped = modules.of_process(id).unwrap();
        Self { modules, mapped }
    }

    fn with_path(&self, path: &Path) -> ModuleId {
        let path = path.to_str().unwrap();
        self.mapped.with_path(&self.modules, path).unwrap()
    }
}

/// Somewhere in a Rust function with another one inlined into it.
#[inline(never)]
fn outer_of_two() -> u64 {
    inlined_one()
}

#[inline(always)]
fn inlined_one() -> u64 {
    let mut pcs = [0; 1];
    pcs[0] = std::hint::black_box(line!()).into();
    pcs[0]
}

fn functions(frames: &[Frame]) -> Vec<&str> {
    frames
        .iter()
        .filter_map(|f| f.function.as_deref())
        .collect()
}

#[test]
fn a_rust_function_is_named_with_what_was_inlined_into_it() {
    let own = Mapped::of(own_id());
    let start = outer_of_two as fn() -> u64 as usize as u64;
    let places: Vec<_> = (start..start + 48)
        .filter_map(|pc| own.mapped.find(pc))
        .map(|(module, offset)| (module, offset, false))
        .collect();
    let mut symbolizer = symbolizer();
    let named = symbolizer.names(&own.modules, &places);
    assert_eq!(symbolizer.failures, 0);
    let inlined = named
        .iter()
        .find(|frames| frames.len() == 2)
        .expect("an instruction of the inlined function");
    assert!(inlined[0].inlined && !inlined[1].inlined);
    assert_eq!(
        functions(inlined),
        [
            "tlsclose::attribution::symbols::tests::inlined_one",
            "tlsclose::attribution::symbols::tests::outer_of_two"
        ]
    );
    for frame in inlined {
        assert!(
            frame
                .file
                .as_deref()
                .unwrap()
                .ends_with("src/attribution/symbols/tests.rs")
        );
        assert!(frame.line.is_some() && frame.module.is_some());
        assert!(frame.offset.as_deref().unwrap().starts_with("0x"));
    }
    assert!(inlined[0].line > inlined[1].line, "{inlined:?}");
}

#[test]
fn the_helper_is_nobody() {
    let mut symbolizer = symbolizer();
    symbolizer.start().unwrap();
    let uid = rustix::process::getuid();
    let expected = if uid.is_root() { 65_534 } else { uid.as_raw() };
    assert_eq!(symbolizer.helper.as_ref().unwrap().uid, expected);
}

const C: &str = r#"#include <sys/socket.h>
#include <unistd.h>
#include <stdio.h>
static volatile int sink;
__attribute__((noinline)) int h(int fd) {
    sink = fd;
    return accept4(fd, 0, 0, 0) +
           sink;
}
int main(int argc, char **argv) {
    printf("%p\n", (void *)h);
    fflush(stdout);
    if (argc > 1) h(argc);
    pause();
    return 0;
}
"#;

struct Program {
    child: Child,
    path: PathBuf,
    /// Address of `h`.
    h: u64,
    _dir: tempfile::TempDir,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    fn compile_and_run() -> Self {
        use std::io::BufRead;
        let dir = tempfile::tempdir().unwrap();
        let (source, path) = (dir.path().join("leaky.c"), dir.path().join("leaky"));
        fs::write(&source, C).unwrap();
        let cc = Command::new("cc")
            .args([
                "-g",
                "-O1",
                "-D_GNU_SOURCE",
                "-fno-omit-frame-pointer",
                "-Wl,--build-id",
                "-o",
            ])
            .args([&path, &source])
            .status();
        assert!(cc.unwrap().success());
        let mut child = Command::new(&path)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let h = u64::from_str_radix(line.trim().trim_start_matches("0x"), 16).unwrap();
        Self {
            child,
            path,
            h,
            _dir: dir,
        }
    }

    fn id(&self) -> ProcessId {
        crate::attribution::modules::tests::id_of(&self.child)
    }
}

#[test]
fn a_c_function_is_named_by_its_own_name_file_and_line_and_by_the_line_of_the_call() {
    let program = Program::compile_and_run();
    let found = Mapped::of(program.id());
    let (module, offset) = found.mapped.find(program.h).unwrap();
    let mut symbolizer = symbolizer();
    // Every byte of the function as a return address: one of them is behind the call.
    let places: Vec<_> = (0..64).map(|i| (module, offset + i, i > 0)).collect();
    let named = symbolizer.names(&found.modules, &places);
    let first = &named[0][0];
    assert_eq!(first.function.as_deref(), Some("h"));
    assert_eq!(
        first.file.as_deref(),
        program.path.with_extension("c").to_str()
    );
    assert_eq!(first.line, Some(5));
    assert_eq!(first.offset, Some(format!("{offset:#x}")));
    let build_id = first.build_id.clone().unwrap();
    assert_eq!(build_id.len(), 40);
    assert_eq!(symbolizer.build_id(&found.modules, module), Some(build_id));
    let lines: Vec<_> = named.iter().filter_map(|frames| frames[0].line).collect();
    assert!(lines.contains(&7), "{lines:?}");
    assert!(
        named
            .iter()
            .any(|f| f[0].function.as_deref() == Some("main"))
    );
    assert_eq!(symbolizer.failures, 0);
}

/// Every place in libc behind a `syscall` instruction of these functions.
#[test]
fn libc_leaves_have_rules() {
    let own = Mapped::of(own_id());
    let libc = own
        .mapped
        .ids()
        .find(|id| own.modules.get(*id).unwrap().path.contains("libc.so"))
        .unwrap();
    let file = own.modules.get(libc).unwrap();
    let data = fs::read(&*file.path).unwrap();
    let elf = object::File::parse(&*data).unwrap();
    use object::{Object, ObjectSymbol};
    let mut symbolizer = symbolizer();
    for function in [
        "recv", "accept4", "accept", "read", "send", "shutdown", "connect",
    ] {
        let symbol = elf
            .dynamic_symbols()
            .find(|s| s.name() == Ok(function))
            .unwrap();
        let start = symbol.address() as usize;
        let code = &data[start..start + symbol.size() as usize];
        let leaves: Vec<usize> = code
            .windows(2)
            .enumerate()
            .filter(|(_, w)| *w == [0x0f, 0x05])
            .map(|(at, _)| start + at + 2)
            .collect();
        assert!(!leaves.is_empty(), "{function}");
        for pc in leaves {
            // In this library file offsets of code are addresses.
            let rule = symbolizer.leaf_rule(&own.modules, libc, pc as u64).unwrap();
            assert_eq!(rule.status, leaf::FROM_STACK_POINTER, "{function} {pc:#x}");
            assert!(
                (0..256).contains(&rule.return_address),
                "{function} {rule:?}"
            );
            // A path that can be cancelled makes room on the stack first.
            assert_eq!(rule.return_address % 8, 0);
        }
    }
    // Not code at all.
    let rule = symbolizer.leaf_rule(&own.modules, libc, 8).unwrap();
    assert_eq!(rule.status, leaf::NONE);
    assert_eq!(symbolizer.failures, 0);
}

/// Modules made of arbitrary bytes.
fn modules_of(contents: &[&[u8]]) -> (Modules, Vec<ModuleId>) {
    let mut modules = Modules::new(Procfs::new("/proc"));
    let ids = contents.iter().enumerate().map(|(number, contents)| {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, contents).unwrap();
        modules.insert_file(&format!("/srv/{number}"), file)
    });
    let ids = ids.collect();
    (modules, ids)
}

#[test]
fn broken_files_leave_module_and_offset_and_a_live_helper() {
    let whole = fs::read("/proc/self/exe").unwrap();
    let mut flipped = whole[..1 << 16].to_vec();
    for (at, byte) in flipped.iter_mut().enumerate().skip(64) {
        *byte ^= (at * 31 % 7 == 0) as u8 * 0x55;
    }
    let random: Vec<u8> = (0..10_000u64)
        .map(|i| (i.wrapping_mul(0x9e37_79b9) >> 7) as u8)
        .collect();
    let elf_then_random = [&whole[..64], &random].concat();
    let contents: [&[u8]; 8] = [
        b"",
        b"\x7fELF",
        &random,
        &whole[..64],
        &whole[..5000],
        &whole[..1 << 20],
        &flipped,
        &elf_then_random,
    ];
    let (modules, ids) = modules_of(&contents);
    let mut symbolizer = symbolizer();
    let places: Vec<_> = ids.iter().map(|id| (*id, 0x1234, false)).collect();
    let named = symbolizer.names(&modules, &places);
    for (number, frames) in named.iter().enumerate() {
        assert_eq!(frames.len(), 1, "{number}");
        assert_eq!(frames[0].module, Some(format!("/srv/{number}")));
        assert_eq!(frames[0].offset.as_deref(), Some("0x1234"));
    }
    for id in ids {
        let rule = symbolizer.leaf_rule(&modules, id, 0x1234).unwrap();
        assert_eq!(rule.status, leaf::NONE);
    }
    assert_eq!(symbolizer.failures, 0);
    assert!(symbolizer.helper.as_mut().unwrap().is_alive());
}

#[test]
fn a_file_with_a_trap_for_a_debug_link_does_not_hang_the_helper() {
    let dir = tempfile::tempdir().unwrap();
    let (fifo, program) = (dir.path().join("f"), dir.path().join("p"));
    let link = dir.path().join("link");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o666),
        0,
    )
    .unwrap();
    fs::set_permissions(
        dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let name = [fifo.to_str().unwrap().as_bytes(), b"\0\0\0\0"].concat();
    fs::write(&link, [name, b"crc!".to_vec()].concat()).unwrap();
    let added = Command::new("objcopy")
        .arg(format!("--add-section=.gnu_debuglink={}", link.display()))
        .arg("/proc/self/exe")
        .arg(&program)
        .status();
    if !added.is_ok_and(|status| status.success()) {
        return;
    }
    let (modules, ids) = modules_of(&[&fs::read(&program).unwrap()]);
    let mut symbolizer = symbolizer();
    symbolizer.names(&modules, &[(ids[0], 0x1000, false)]);
    assert_eq!(symbolizer.failures, 0);
}

fn pid_of(symbolizer: &Symbolizer) -> Pid {
    let pid = symbolizer.helper.as_ref().unwrap().pid();
    Pid::from_raw(pid as i32).unwrap()
}

#[test]
fn a_helper_that_hangs_is_killed_and_replaced() {
    let own = Mapped::of(own_id());
    let program = own.with_path(&std::env::current_exe().unwrap());
    let mut symbolizer = symbolizer();
    assert!(
        symbolizer
            .leaf_rule(&own.modules, program, 0x1000)
            .is_some()
    );
    let stopped = pid_of(&symbolizer);
    kill_process(stopped, Signal::STOP).unwrap();
    assert_eq!(symbolizer.leaf_rule(&own.modules, program, 0x1000), None);
    assert_eq!(symbolizer.failures, 1);
    assert!(
        rustix::process::test_kill_process(stopped).is_err(),
        "reaped"
    );
    assert!(
        symbolizer
            .leaf_rule(&own.modules, program, 0x1000)
            .is_some()
    );
    assert_ne!(pid_of(&symbolizer), stopped);
}

#[test]
fn a_helper_that_ended_without_work_is_no_failure() {
    let own = Mapped::of(own_id());
    let program = own.with_path(&std::env::current_exe().unwrap());
    let mut symbolizer = symbolizer();
    assert!(
        symbolizer
            .leaf_rule(&own.modules, program, 0x1000)
            .is_some()
    );
    kill_process(pid_of(&symbolizer), Signal::KILL).unwrap();
    while symbolizer.helper.as_mut().unwrap().is_alive() {}
    assert!(
        symbolizer
            .leaf_rule(&own.modules, program, 0x1000)
            .is_some()
    );
    assert_eq!(symbolizer.failures, 0);
}

#[test]
fn a_module_that_cost_two_helpers_is_not_sent_again_and_the_others_are_named() {
    let whole = fs::read("/proc/self/exe").unwrap();
    let (modules, ids) = modules_of(&[&whole, &whole]);
    let (bad, good) = (ids[0], ids[1]);
    let mut symbolizer = symbolizer();
    for (strike, request) in [Request::Crash, Request::Babble].into_iter().enumerate() {
        symbolizer.load(&modules, bad).unwrap();
        let answer = symbolizer.ask(bad, &request, LEAF_DEADLINE);
        if let Some(answer) = answer {
            symbolizer.failed(Some(bad), &nonsense(&answer));
        }
        assert_eq!(symbolizer.failures, strike as u64 + 1);
        assert!(symbolizer.helper.is_none());
    }
    let places = [(bad, 0x1000, false), (good, 0x1000, false)];
    let named = symbolizer.names(&modules, &places);
    assert_eq!(named[0][0].function, None);
    assert_eq!(named[0][0].module.as_deref(), Some("/srv/0"));
    assert_eq!(symbolizer.leaf_rule(&modules, bad, 0), Some(NO_RULE));
    assert_eq!(symbolizer.failures, 2);
    assert!(symbolizer.helper.is_some());
}

#[test]
fn helpers_are_not_started_for_ever() {
    let mut symbolizer = Symbolizer::new(Launch {
        program: "/bin/true".into(),
        ..Launch::default()
    });
    let (modules, ids) = modules_of(&[b"x"]);
    for _ in 0..10 {
        assert_eq!(symbolizer.leaf_rule(&modules, ids[0], 0), None);
    }
    assert_eq!(symbolizer.failures, STARTS_MAX as u64);
}

#[test]
fn a_helper_without_work_is_ended() {
    let mut symbolizer = symbolizer();
    symbolizer.start().unwrap();
    let pid = pid_of(&symbolizer);
    symbolizer.idle(Instant::now() + IDLE / 2);
    assert!(rustix::process::test_kill_process(pid).is_ok());
    symbolizer.idle(Instant::now() + IDLE * 2);
    assert!(rustix::process::test_kill_process(pid).is_err());
}
