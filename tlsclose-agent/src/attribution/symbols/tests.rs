//! With a real helper: this test program, run again.

mod corpus;
#[cfg(target_arch = "x86_64")]
mod debug_files;
mod failures;
#[cfg(target_arch = "x86_64")]
mod leaves;
mod memory;
mod program;
#[cfg(target_arch = "x86_64")]
mod twins;

use super::*;
use crate::attribution::modules::MappedModules;
use crate::attribution::process::procfs::{Procfs, tests::own_id};
use rustix::net::SendFlags;
use std::fs::File;
use std::io;
use std::path::Path;
use tlsclose_core::model::FileOffset;
use tlsclose_core::model::ProcessId;
use tlsclose_symbols::confine::{Confined, confine};
use tlsclose_symbols::helper::helper_main;
use tlsclose_symbols::protocol::{FdReader, encode, receive, send_with_fd};

const HELPER: &str = "TLSCLOSE_TEST_IS_HELPER";

/// Not a test: what the helper process runs. It is confined as a thread only, because the test
/// harness has one more.
#[test]
fn helper_process() {
    let heap = Budget::now().heap;
    let result = match std::env::var(HELPER).as_deref() {
        Ok("escapes") => say_escapes(heap).is_ok(),
        Ok(_) => helper_main(heap) == std::process::ExitCode::SUCCESS,
        Err(_) => return,
    };
    std::process::exit(i32::from(!result));
}

pub fn symbolizer() -> Symbolizer {
    symbolizer_of("names")
}

/// With a helper that does this.
fn symbolizer_of(task: &str) -> Symbolizer {
    let arguments = ["--exact", "attribution::symbols::tests::helper_process", "--nocapture"];
    let launch = Launch {
        program: "/proc/self/exe".into(),
        arguments: arguments.map(Into::into).to_vec(),
        environment: vec![(HELPER.into(), task.into())],
    };
    // Nobody comes again here.
    Symbolizer { patience: Some(FIRST_DEADLINE), ..Symbolizer::new(launch) }
}

/// One whose helpers end at once.
pub fn symbolizer_without_helper() -> Symbolizer {
    Symbolizer::new(Launch { program: "/bin/true".into(), ..Launch::default() })
}

/// The helper's process, while there is one.
pub fn helper_pid(symbolizer: &Symbolizer) -> Option<u32> {
    symbolizer.helper.as_ref().map(Helper::pid)
}

/// A process that only maps a file, for that file to become a module.
struct Mapped {
    modules: Modules,
    mapped: MappedModules,
}

impl Mapped {
    fn of(id: ProcessId) -> Self {
        let mut modules = Modules::new(Procfs::new("/proc"));
        // On a busy host the first tries may not be in time.
        let mapped = (0..20).find_map(|_| modules.of_process(id)).unwrap();
        Self { modules, mapped }
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
    frames.iter().filter_map(|f| f.function.as_deref()).collect()
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
    let named = symbolizer.names(&own.modules, &places).known;
    assert_eq!(symbolizer.failures, 0);
    let inlined = named.iter().find(|frames| frames.len() == 2).expect("an instruction of the inlined function");
    assert!(inlined[0].inlined && !inlined[1].inlined);
    assert_eq!(
        functions(inlined),
        [concat!(module_path!(), "::inlined_one"), concat!(module_path!(), "::outer_of_two")]
    );
    for frame in inlined {
        assert!(frame.file.as_deref().unwrap().ends_with("src/attribution/symbols/tests.rs"));
        assert!(frame.line.is_some() && frame.module.is_some());
        assert!(frame.offset.is_some());
    }
    assert!(inlined[0].line > inlined[1].line, "{inlined:?}");
}

/// It is no file, and there is nothing to be had for its tables: no call that is watched goes through it.
#[test]
fn a_stack_is_cut_at_the_vdso() {
    let own = Mapped::of(own_id());
    let vdso = own.mapped.ids().find(|id| &*own.modules.get(*id).unwrap().path == "[vdso]").unwrap();
    let mut symbolizer = symbolizer();
    assert_eq!(symbolizer.caller(&own.modules, vdso, 0x600, false), Ok(Caller::Unknown));
    let named = symbolizer.names(&own.modules, &[(vdso, 0x600, true)]).known.concat();
    assert_eq!((named[0].module.as_deref(), named[0].offset), (Some("[vdso]"), Some(FileOffset(0x600))));
    assert!(symbolizer.helper.is_none());
}

#[test]
fn functions_of_a_jit_compiler_are_named_by_its_map() {
    let process = own_id();
    let map = |contents: &'static str| {
        move || {
            let mut file = tempfile::tempfile().ok()?;
            io::Write::write_all(&mut file, contents.as_bytes()).ok()?;
            Some((file, contents.len() as u64))
        }
    };
    let name = |function: &str| Some(JitName { function: function.into(), file: None });
    let mut symbolizer = symbolizer();
    assert!(symbolizer.load_jit(process, || None).is_none(), "none is there");
    assert!(symbolizer.load_jit(process, map("1000 10 young\n")).is_some());
    assert_eq!(symbolizer.jit_names(process, &[0x1008, 0x1010]), [name("young"), None]);
    // The helper may have ended meanwhile, and the map has grown.
    symbolizer.helper = None;
    assert!(!symbolizer.has_jit(process));
    assert!(symbolizer.load_jit(process, map("1000 10 young\n1008 8 old\x1b[2J\n")).is_some());
    assert!(symbolizer.has_jit(process));
    assert_eq!(symbolizer.jit_names(process, &[0x1008]), [name("old\\u{1b}[2J")]);
    assert_eq!(symbolizer.failures, 0);
}

#[test]
fn the_agent_knows_which_maps_the_helper_still_has() {
    let mut symbolizer = symbolizer();
    let process = |tgid: u32| ProcessId { tgid, started_at: 7 };
    let load = |symbolizer: &mut Symbolizer, tgid: u32| {
        let open = move || {
            let mut file = tempfile::tempfile().ok()?;
            let line = format!("1000 10 of_{tgid}\n");
            io::Write::write_all(&mut file, line.as_bytes()).ok()?;
            Some((file, line.len() as u64))
        };
        assert!(symbolizer.load_jit(process(tgid), open).is_some());
    };
    for tgid in [1, 2, 1, 1, 1].into_iter().chain(3..40) {
        load(&mut symbolizer, tgid);
        // The last one asked for stays.
        assert!(symbolizer.jit_names(process(2), &[0x1000]).len() == 1);
    }
    let mut kept = 0;
    for tgid in 1..40 {
        let named = symbolizer.jit_names(process(tgid), &[0x1000])[0].is_some();
        assert_eq!(symbolizer.has_jit(process(tgid)), named, "{tgid}");
        kept += usize::from(named);
    }
    assert!(symbolizer.has_jit(process(2)) && !symbolizer.has_jit(process(1)) && kept > 4, "{kept}");
    assert_eq!(symbolizer.failures, 0);
}

/// A helper that answers one request by what it can do although it is confined.
fn say_escapes(heap: u64) -> io::Result<()> {
    let socket = io::stdin();
    let Confined { uid, landlock } = confine(heap)?;
    let say = |answer| send_with_fd(&socket, &encode(&answer)?, None, SendFlags::NOSIGNAL);
    say(Answer::Ready { uid, landlock })?;
    receive::<Request>(FdReader { socket: &socket, fd: None })?;
    say(Answer::Refused(escapes()))?;
    Ok(())
}

fn escapes() -> String {
    let path = Path::new("/etc/passwd");
    let nothing = File::open("/dev/null").and_then(|_| File::open(path));
    let tries = [
        ("read a file", nothing.is_ok()),
        ("write a file", std::fs::write("/tmp/tlsclose-escape", "x").is_ok()),
        ("list a directory", std::fs::read_dir("/").is_ok()),
        ("reach the network", std::net::UdpSocket::bind("127.0.0.1:0").is_ok()),
        ("listen", std::net::TcpListener::bind("127.0.0.1:0").is_ok()),
        ("start a thread", std::thread::Builder::new().spawn(|| {}).is_ok()),
        ("start a program", std::process::Command::new("/bin/true").spawn().is_ok()),
        ("see another process", rustix::process::test_kill_process(rustix::process::Pid::INIT).is_ok()),
        ("take all memory", Vec::<u8>::new().try_reserve_exact(2 << 30).is_ok()),
    ];
    let done: Vec<&str> = tries.iter().filter(|(_, done)| *done).map(|(what, _)| *what).collect();
    done.join(", ")
}

#[test]
fn the_helper_cannot_do_what_it_need_not() {
    let mut symbolizer = symbolizer_of("escapes");
    symbolizer.start().unwrap();
    let helper = symbolizer.helper.as_mut().unwrap();
    let deadline = Instant::now() + FIRST_DEADLINE;
    let load = Load { contents: ContentsId(0), debug_info: true };
    let answer = helper.ask_about(load, &Request::Python { module: load.number() }, deadline).unwrap();
    let Answer::Refused(escapes) = answer else { panic!("{answer:?}") };
    let expected = if helper.landlock { "" } else { "read a file" };
    assert_eq!(escapes, expected);
}

#[test]
fn where_memory_is_short_the_kernel_ends_the_helper_first() {
    let mut symbolizer = symbolizer();
    symbolizer.start().unwrap();
    let pid = helper_pid(&symbolizer).unwrap();
    let score = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    assert_eq!(score.trim(), "1000");
}

#[test]
fn the_helper_is_nobody() {
    let mut symbolizer = symbolizer();
    symbolizer.start().unwrap();
    let uid = rustix::process::getuid();
    let expected = if uid.is_root() { 65_534 } else { uid.as_raw() };
    assert_eq!(symbolizer.helper.as_ref().unwrap().uid, expected);
}
