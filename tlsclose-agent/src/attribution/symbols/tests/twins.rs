//! Modules with the same contents, and those that only pretend to have them.

use super::*;
use object::{Object, ObjectSymbol};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

/// Files as modules, as far as names need it; no process is behind them.
struct Files {
    directory: tempfile::TempDir,
    modules: Modules,
}

impl Files {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), modules: Modules::new(Procfs::new("/proc")) }
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// A library with one function of this name, 4 bytes of code, and a build id that says nothing of it.
    fn library(&self, name: &str, function: &str) -> PathBuf {
        let (source, path) = (self.path("library.c"), self.path(name));
        fs::write(&source, format!("int {function}(int a) {{ return a; }}\n")).unwrap();
        let flags = ["-g", "-O1", "-shared", "-Wl,--build-id=0x1234", "-o"];
        let status = Command::new("cc").args(flags).args([&path, &source]).status();
        assert!(status.unwrap().success());
        path
    }

    fn module(&mut self, path: &Path) -> ModuleId {
        self.modules.insert_file(path.to_str().unwrap(), File::open(path).unwrap())
    }

    fn shell(&self, script: &str) {
        let status = Command::new("sh").args(["-ec", script]).current_dir(self.directory.path()).status();
        assert!(status.unwrap().success(), "{script}");
    }

    fn name(&self, symbolizer: &mut Symbolizer, module: ModuleId, offset: u64) -> Frame {
        symbolizer.names(&self.modules, &[(module, offset, false)]).known[0][0].clone()
    }
}

/// In these libraries file offsets of code are addresses.
fn offset(library: &Path, function: &str) -> u64 {
    let contents = fs::read(library).unwrap();
    let elf = object::File::parse(&*contents).unwrap();
    elf.symbols().find(|symbol| symbol.name() == Ok(function)).unwrap().address()
}

fn loaded(symbolizer: &Symbolizer) -> usize {
    let pid = helper_pid(symbolizer).unwrap();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    open.filter(|entry| fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().contains("tlsclose-module")))
        .count()
}

#[test]
fn copies_of_a_file_are_loaded_once_and_each_shows_its_own_path() {
    let mut files = Files::new();
    let first = files.library("one/library.so", "shared");
    let at = offset(&first, "shared");
    let mut symbolizer = symbolizer();
    let mut before = None;
    for copy in ["one/library.so", "two/library.so", "three/renamed.so"] {
        let path = files.path(copy);
        if path != first {
            fs::copy(&first, &path).unwrap();
        }
        let module = files.module(&path);
        let frame = files.name(&mut symbolizer, module, at);
        assert_eq!(frame.function.as_deref(), Some("shared"), "{copy}");
        assert_eq!(frame.module.as_deref(), path.to_str());
        assert_eq!(frame.build_id.as_deref(), Some("1234"), "{copy}");
        assert!(symbolizer.caller(&files.modules, module, at, true).is_ok());
        assert_eq!(*before.get_or_insert(loaded(&symbolizer)), loaded(&symbolizer), "{copy}");
    }
    assert_eq!(symbolizer.failures, 0);
}

/// As a program would have it that wants to name another's functions.
#[test]
fn the_same_build_id_and_size_do_not_make_two_files_one() {
    let mut files = Files::new();
    let [ours, theirs] = ["payments", "disguise"].map(|function| files.library(&format!("{function}.so"), function));
    assert_eq!(fs::metadata(&ours).unwrap().len(), fs::metadata(&theirs).unwrap().len());
    let at = offset(&ours, "payments");
    assert_eq!(offset(&theirs, "disguise"), at);
    let [theirs, ours] = [&theirs, &ours].map(|path| files.module(path));
    let mut symbolizer = symbolizer();
    for _ in 0..2 {
        let names = [theirs, ours].map(|module| files.name(&mut symbolizer, module, at));
        assert_eq!(names.each_ref().map(|frame| frame.build_id.as_deref()), [Some("1234"); 2]);
        assert_eq!(names.each_ref().map(|frame| frame.function.as_deref()), [Some("disguise"), Some("payments")]);
    }
}

/// Whoever owns one root does not name what runs in another.
#[test]
fn a_debug_file_names_only_the_module_that_it_lies_beside() {
    let mut files = Files::new();
    let library = files.library("library.so", "payments");
    let at = offset(&library, "payments");
    files.library("hostile.so", "disguise");
    files.shell(
        "mkdir hostile ours bare
         objcopy --only-keep-debug library.so ours/library.debug
         objcopy --only-keep-debug hostile.so hostile/library.debug
         strip library.so -o stripped.so
         cp ours/library.debug . && objcopy --add-gnu-debuglink=library.debug stripped.so && rm library.debug
         for to in hostile ours bare; do cp stripped.so $to/library.so; done",
    );
    let directories = ["hostile", "bare", "ours"];
    let modules = directories.map(|directory| {
        let path = files.path(&format!("{directory}/library.so"));
        files.module(&path)
    });
    let mut symbolizer = symbolizer();
    for round in 0..3 {
        // Each time at another place, which nobody has asked for yet.
        let frames = modules.map(|module| files.name(&mut symbolizer, module, at + round));
        let functions = frames.each_ref().map(|frame| frame.function.as_deref());
        assert_eq!((functions[0], functions[2]), (Some("disguise"), Some("payments")), "{round}");
        assert_ne!(functions[1], Some("disguise"), "{round}");
        assert_eq!(frames.each_ref().map(|frame| frame.line), [Some(1), None, Some(1)], "{round}");
    }
    assert_eq!(symbolizer.failures, 0);
    // Known by now, without a helper.
    symbolizer.helper = None;
    assert_eq!(files.name(&mut symbolizer, modules[0], at).function.as_deref(), Some("disguise"));
    assert_eq!(files.name(&mut symbolizer, modules[2], at).line, Some(1));
    assert!(symbolizer.helper.is_none());
}

#[test]
fn a_file_that_was_changed_after_it_was_read_names_neither_itself_nor_its_copies() {
    let mut files = Files::new();
    let [first, second] = ["one.so", "two.so"].map(|name| files.library(name, "payments"));
    let other = fs::read(files.library("other.so", "disguise")).unwrap();
    let at = offset(&first, "payments");
    let [changed, same] = [&first, &second].map(|path| files.module(path));
    let mut symbolizer = symbolizer();
    for module in [changed, same] {
        assert_eq!(files.name(&mut symbolizer, module, at).function.as_deref(), Some("payments"));
    }
    File::options().write(true).open(&first).unwrap().write_all_at(&other, 0).unwrap();
    symbolizer.helper = None;
    assert_eq!(files.name(&mut symbolizer, changed, at + 1).function, None);
    assert_eq!(files.name(&mut symbolizer, same, at + 1).function.as_deref(), Some("payments"));
    assert_eq!(symbolizer.failures, 0);
}

/// It may have been its debug file, or the places that its process has made up.
#[test]
fn what_one_module_cost_is_not_held_against_its_copies() {
    let mut files = Files::new();
    let library = files.library("library.so", "payments");
    let at = offset(&library, "payments");
    let [bad, good] = [(); 2].map(|()| files.module(&library));
    let mut symbolizer = symbolizer();
    // After the first time without lines, after the second without names.
    for (strikes, expected) in [(Some("payments"), Some(1)), (Some("payments"), None), (None, None)].iter().enumerate()
    {
        let another = at + strikes as u64;
        let frame = files.name(&mut symbolizer, bad, another);
        assert_eq!((frame.function.as_deref(), frame.line), *expected, "{strikes}");
        let frame = files.name(&mut symbolizer, good, another);
        assert_eq!((frame.function.as_deref(), frame.line), (Some("payments"), Some(1)), "{strikes}");
        assert_eq!(files.name(&mut symbolizer, bad, at).line, Some(1), "what was known stays known");
        symbolizer.failed(Some(bad), &io::ErrorKind::TimedOut.into());
    }
}
