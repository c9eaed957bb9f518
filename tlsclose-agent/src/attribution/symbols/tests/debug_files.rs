//! Programs whose symbols and lines are elsewhere.

use super::program::{Program, run};
use super::*;
use object::{Object, ObjectSymbol};
use std::fs;
use std::process::Command;

/// The names around the address of `h` in a program that was treated by `strip`: a shell script
/// with the program as `$1`.
fn names_after(strip: &str) -> (Vec<Frame>, u64) {
    let program = Program::compile_and_strip(strip);
    let found = Mapped::of(program.id());
    let (module, offset) = found.mapped.find(program.h).unwrap();
    let mut symbolizer = symbolizer();
    let named = symbolizer.names(&found.modules, &[(module, offset, false)]).known;
    (named.concat(), symbolizer.failures)
}

fn assert_names_h(strip: &str, line: Option<u32>) {
    let (named, failures) = names_after(strip);
    assert_eq!(named[0].function.as_deref(), Some("h"), "{strip}: {named:?}");
    assert_eq!(named[0].line, line, "{strip}: {named:?}");
    assert_eq!(failures, 0, "{strip}");
}

const SPLIT: &str = "objcopy --only-keep-debug $1 $1.debug && strip $1 && cd $(dirname $1)";

#[test]
fn a_debug_file_beside_a_stripped_program_names_it_to_the_line() {
    assert_names_h(&format!("{SPLIT} && objcopy --add-gnu-debuglink=$1.debug $1"), Some(7));
    let below = "objcopy --add-gnu-debuglink=$1.debug $1 && mkdir .debug && mv $1.debug .debug";
    assert_names_h(&format!("{SPLIT} && {below}"), Some(7));
}

#[test]
fn without_a_build_id_the_contents_of_the_debug_file_must_fit() {
    let script = format!("objcopy -R .note.gnu.build-id $1 && {SPLIT} && objcopy --add-gnu-debuglink=$1.debug $1");
    assert_names_h(&script, Some(7));
    let (named, failures) = names_after(&format!("{script} && printf x >> $1.debug"));
    assert_eq!((named[0].function.as_deref(), named[0].build_id.as_deref(), failures), (None, None, 0));
}

#[test]
fn the_debug_file_of_another_build_is_refused_and_a_trap_is_left_alone() {
    let link = "objcopy --add-gnu-debuglink=$1.debug $1";
    for replace in ["objcopy --only-keep-debug /proc/self/exe $1.debug", "rm $1.debug; mkfifo $1.debug"] {
        let (named, failures) = names_after(&format!("{SPLIT} && {link} && {replace}"));
        assert_eq!((named[0].function.as_deref(), failures), (None, 0), "{replace}");
        // Enough to ask a symbol server.
        assert_eq!(named[0].build_id.as_deref().map(str::len), Some(40), "{replace}");
        assert!(named[0].module.is_some() && named[0].offset.is_some());
    }
}

/// As Fedora's programs have it.
#[test]
fn a_compressed_symbol_table_in_the_program_names_it() {
    if !run(Command::new("xz").arg("--version")) {
        return;
    }
    let mini = "objcopy -S --remove-section .gnu_debuglink --keep-symbol=h $1.debug $1.mini";
    let add = "xz -k $1.mini && objcopy --add-section .gnu_debugdata=$1.mini.xz $1 && rm $1.debug";
    assert_names_h(&format!("{SPLIT} && {mini} && {add}"), None);
}

#[test]
fn libc_is_named_by_the_distributions_debug_files() {
    let own = Mapped::of(own_id());
    let libc = own.mapped.ids().find(|id| own.modules.get(*id).unwrap().path.contains("libc.so")).unwrap();
    let file = own.modules.get(libc).unwrap();
    let mut symbolizer = symbolizer();
    symbolizer.names(&own.modules, &[(libc, 0x1000, false)]);
    let build_id = file.build_id().unwrap().to_owned();
    let debug = format!("/usr/lib/debug/.build-id/{}/{}.debug", &build_id[..2], &build_id[2..]);
    if fs::metadata(&debug).is_err() {
        return;
    }
    // A static function, which libc itself does not name. In this library file offsets of code are addresses.
    let contents = fs::read(debug).unwrap();
    let elf = object::File::parse(&*contents).unwrap();
    let start = elf.symbol_by_name("__libc_start_call_main").unwrap().address();
    let named = symbolizer.names(&own.modules, &[(libc, start + 8, true)]).known.concat();
    assert_eq!(named[0].function.as_deref(), Some("__libc_start_call_main"));
    assert_eq!(symbolizer.failures, 0);
}
