use super::*;
use crate::attribution::process::procfs::tests::own_id;
use std::fs;
use std::process::{Child, Command};

fn modules() -> Modules {
    Modules::new(Procfs::new("/proc"))
}

pub(in crate::attribution) fn id_of(child: &Child) -> ProcessId {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let ticks: u64 = stat.rsplit(')').next().unwrap().split(' ').nth(20).unwrap().parse().unwrap();
    ProcessId { tgid: child.id(), started_at: ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second()) }
}

#[test]
fn an_address_belongs_to_the_mapping_around_it() {
    let mapped = MappedModules::of_ranges(&[(0x1000, 0x3000, 0x2000, 7), (0x5000, 0x6000, 0, 8)]);
    let cases = [
        (0x0fff, None),
        (0x1000, Some((ModuleId(7), 0x2000))),
        (0x2fff, Some((ModuleId(7), 0x3fff))),
        (0x3000, None),
        (0x5001, Some((ModuleId(8), 1))),
        (0x6000, None),
        (u64::MAX, None),
    ];
    for (address, expected) in cases {
        assert_eq!(mapped.find(address), expected, "{address:#x}");
    }
    assert_eq!(MappedModules::default().find(1), None);
}

#[test]
fn our_own_code_is_in_our_own_program() {
    let mut modules = modules();
    let mapped = modules.of_process(own_id()).unwrap();
    let (module, offset) = mapped.find(id_of as fn(&Child) -> ProcessId as usize as u64).unwrap();
    let exe = std::env::current_exe().unwrap();
    let module = modules.get(module).unwrap();
    assert_eq!(&*module.path, exe.to_str().unwrap());
    assert_eq!(module.size, fs::metadata(&exe).unwrap().len());
    assert!(offset < module.size);
    assert!(mapped.with_path(&modules, exe.to_str().unwrap()).is_some());
    assert!(mapped.ids().any(|id| &*modules.get(id).unwrap().path == "[vdso]"));
}

#[test]
fn the_same_file_is_the_same_module_in_every_process() {
    let mut modules = modules();
    let first = modules.of_process(own_id()).unwrap();
    let again = modules.of_process(own_id()).unwrap();
    assert!(first.ids().eq(again.ids()));
}

#[test]
fn a_deleted_program_stays_readable_and_its_successor_is_another_module() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("payments");
    let mut modules = modules();
    let mut ids = Vec::new();
    for _ in 0..2 {
        fs::copy("/bin/sleep", &program).unwrap();
        let mut child = Command::new(&program).arg("60").spawn().unwrap();
        fs::remove_file(&program).unwrap();
        // spawn() returns before exec has mapped anything.
        let id = loop {
            let mapped = modules.of_process(id_of(&child)).unwrap();
            if let Some(id) = mapped.with_path(&modules, program.to_str().unwrap()) {
                break id;
            }
        };
        let file = modules.get(id).unwrap().file().unwrap();
        assert_eq!(file.metadata().unwrap().len(), fs::metadata("/bin/sleep").unwrap().len());
        ids.push(id);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn a_process_that_ended_has_no_modules() {
    let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
    let id = id_of(&child);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(modules().of_process(id).is_none());
}

#[test]
fn the_registry_stays_within_its_bounds() {
    let mut modules = modules();
    let file = Arc::new(File::open("/bin/sleep").unwrap());
    for number in 0..MODULES_MAX as u64 + 10 {
        modules.looks = number;
        let key = Key::Unreachable((0, 0), number, Vec::new());
        let id = modules.add(key, String::new());
        modules.modules.get_mut(&id).unwrap().file = Some(Arc::clone(&file));
    }
    modules.forget();
    assert_eq!(modules.modules.len(), MODULES_MAX);
    assert_eq!(modules.ids.len(), MODULES_MAX);
    assert!(modules.get(ModuleId(9)).is_none());
    let open = modules.modules.values().filter(|m| m.file.is_some());
    assert_eq!(open.count(), FILES_MAX);
    assert!(modules.get(ModuleId(MODULES_MAX as u32 + 9)).unwrap().file().is_some());
}

#[test]
fn a_program_in_another_mount_namespace_is_its_own_and_not_the_hosts() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("payments");
    fs::copy("/bin/cat", &program).unwrap();
    let script = "mount -t tmpfs none \"$0\" && cp /bin/sleep \"$0/payments\" && exec \"$0/payments\" 60";
    let mut child = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .arg(dir.path())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut modules = modules();
    let id = id_of(&child);
    let found = loop {
        if child.try_wait().unwrap().is_some() {
            // No right to make a mount namespace.
            return;
        }
        let mapped = modules.of_process(id).unwrap_or_default();
        if let Some(found) = mapped.with_path(&modules, program.to_str().unwrap()) {
            break found;
        }
    };
    assert_eq!(modules.get(found).unwrap().size, fs::metadata("/bin/sleep").unwrap().len());
    child.kill().unwrap();
    child.wait().unwrap();
}
