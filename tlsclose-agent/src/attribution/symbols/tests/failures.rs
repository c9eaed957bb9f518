//! Hostile files and helpers in trouble.

use super::*;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::fs;
use std::process::Command;

/// Modules made of arbitrary bytes.
pub fn modules_of(contents: &[&[u8]]) -> (Modules, Vec<ModuleId>) {
    let mut modules = Modules::new(Procfs::new("/proc"));
    let ids = contents.iter().enumerate().map(|(number, contents)| {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, contents).unwrap();
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
        *byte ^= u8::from(at * 31 % 7 == 0) * 0x55;
    }
    let random: Vec<u8> = (0..10_000u64).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 7) as u8).collect();
    let elf_then_random = [&whole[..64], &random].concat();
    let contents: [&[u8]; 8] =
        [b"", b"\x7fELF", &random, &whole[..64], &whole[..5000], &whole[..1 << 20], &flipped, &elf_then_random];
    let (modules, ids) = modules_of(&contents);
    let mut symbolizer = symbolizer();
    let places: Vec<_> = ids.iter().map(|id| (*id, 0x1234, false)).collect();
    let named = symbolizer.names(&modules, &places).known;
    for (number, frames) in named.iter().enumerate() {
        assert_eq!(frames.len(), 1, "{number}");
        assert_eq!(frames[0].module.as_deref(), Some(&*format!("/srv/{number}")));
        assert_eq!(frames[0].offset, Some(FileOffset(0x1234)));
    }
    for id in ids {
        let rule = symbolizer.caller(&modules, id, 0x1234, true).unwrap();
        assert!(matches!(rule, Caller::Unknown | Caller::FramePointer), "{rule:?}");
    }
    assert_eq!(symbolizer.failures, 0);
    assert!(!symbolizer.helper.as_mut().unwrap().reap_if_ended());
}

#[test]
fn damaged_programs_cost_names_and_nothing_else() {
    let whole = fs::read("/bin/sleep").unwrap();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let damaged: Vec<Vec<u8>> = (0..48)
        .map(|_| {
            let mut copy = whole.clone();
            for _ in 0..1 << (random() % 12) {
                // Headers lie at both ends.
                let reach = [4096, copy.len() as u64][(random() % 2) as usize];
                let at = (random() % reach) as usize;
                let at = [at, copy.len() - 1 - at][(random() % 2) as usize];
                copy[at] = random() as u8;
            }
            copy
        })
        .collect();
    let contents: Vec<&[u8]> = damaged.iter().map(Vec::as_slice).collect();
    let (modules, ids) = modules_of(&contents);
    let mut symbolizer = symbolizer();
    let places: Vec<_> =
        ids.iter().flat_map(|id| (0..whole.len() as u64).step_by(997).map(|at| (*id, at, true))).collect();
    let named = symbolizer.names(&modules, &places).known;
    let known = named.iter().flatten();
    assert!(known.clone().all(|f| f.module.is_some() && f.offset.is_some()));
    for id in ids {
        let _ = symbolizer.caller(&modules, id, 0x3000, true);
    }
}

#[test]
fn a_file_with_a_trap_for_a_debug_link_does_not_hang_the_helper() {
    let dir = tempfile::tempdir().unwrap();
    let (fifo, program) = (dir.path().join("f"), dir.path().join("p"));
    let link = dir.path().join("link");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o666), 0)
        .unwrap();
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
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

/// One that is read at once however busy the machine is, as the test program is not.
fn small_program() -> (Modules, ModuleId) {
    let (modules, ids) = modules_of(&[&fs::read("/bin/sleep").unwrap()]);
    (modules, ids[0])
}

fn pid_of(symbolizer: &Symbolizer) -> Pid {
    let pid = symbolizer.helper.as_ref().unwrap().pid();
    Pid::from_raw(pid as i32).unwrap()
}

#[test]
fn a_helper_that_hangs_is_killed_and_replaced() {
    let (modules, program) = small_program();
    let mut symbolizer = symbolizer();
    assert!(symbolizer.caller(&modules, program, 0x1000, true).is_ok());
    let stopped = pid_of(&symbolizer);
    kill_process(stopped, Signal::STOP).unwrap();
    // The signal is on its way only: it might answer meanwhile.
    waitid(WaitId::Pid(stopped), WaitIdOptions::STOPPED).unwrap();
    assert_eq!(symbolizer.caller(&modules, program, 0x1001, true), Err(NotNow::NoAnswer));
    assert_eq!(symbolizer.failures, 1);
    assert!(rustix::process::test_kill_process(stopped).is_err(), "reaped");
    assert!(symbolizer.caller(&modules, program, 0x1001, true).is_ok());
    assert_ne!(pid_of(&symbolizer), stopped);
}

#[test]
fn a_helper_that_ended_without_work_is_no_failure() {
    let (modules, program) = small_program();
    let mut symbolizer = symbolizer();
    assert!(symbolizer.caller(&modules, program, 0x1000, true).is_ok());
    kill_process(pid_of(&symbolizer), Signal::KILL).unwrap();
    while !symbolizer.helper.as_mut().unwrap().reap_if_ended() {}
    assert!(symbolizer.caller(&modules, program, 0x1001, true).is_ok());
    assert_eq!(symbolizer.failures, 0);
}

#[test]
fn a_module_that_cost_two_helpers_is_not_sent_again_and_the_others_are_named() {
    let whole = fs::read("/proc/self/exe").unwrap();
    let (modules, ids) = modules_of(&[&whole, &whole]);
    let (bad, good) = (ids[0], ids[1]);
    let mut symbolizer = symbolizer();
    for (strike, crashes) in [true, false].into_iter().enumerate() {
        let (load, _) = symbolizer.load(&modules, bad, Some(FIRST_DEADLINE)).unwrap();
        if crashes {
            kill_process(pid_of(&symbolizer), Signal::KILL).unwrap();
        }
        // Nobody would ask for this here: it stands for an answer to another question.
        let answer = symbolizer.ask(bad, load, &Request::Unload { module: load.number() }, LEAF_DEADLINE);
        assert_eq!(answer.is_err(), crashes);
        if let Ok(answer) = answer {
            symbolizer.failed(Some(bad), &nonsense(&answer));
        }
        assert_eq!(symbolizer.failures, strike as u64 + 1);
        assert!(symbolizer.helper.is_none());
    }
    let places = [(bad, 0x1000, false), (good, 0x1000, false)];
    let named = symbolizer.names(&modules, &places).known;
    assert_eq!(named[0][0].function, None);
    assert_eq!(named[0][0].module.as_deref(), Some("/srv/0"));
    assert_eq!(symbolizer.caller(&modules, bad, 0, true), Ok(Caller::Unknown));
    assert_eq!(symbolizer.failures, 2);
    assert!(symbolizer.helper.is_some());
}

#[test]
fn helpers_are_not_started_for_ever() {
    let mut symbolizer = symbolizer_without_helper();
    let (modules, ids) = modules_of(&[b"x"]);
    for _ in 0..10 {
        assert_eq!(symbolizer.caller(&modules, ids[0], 0, true), Err(NotNow::NoAnswer));
    }
    assert_eq!(symbolizer.failures, helper_backoff::STARTS_MAX as u64);
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
