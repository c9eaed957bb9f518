//! All that the helper reads out of an ELF file by itself: segments, build id, Go's table, unwind
//! tables, code, the interpreter's own word. Give it real programs to start from.
#![no_main]

use libfuzzer_sys::fuzz_target;
use object::Object;
use tlsclose_symbols::{entry_points::EntryPoints, go_table::GoTable, runtime::runtime, unwind::caller};

fuzz_target!(|input: (u64, &[u8])| {
    let (offset, bytes) = input;
    let Ok(file) = object::File::parse(bytes) else { return };
    let table = GoTable::of(&file);
    if let Some(table) = &table {
        table.name(offset);
        table.name(file.entry());
    }
    let starts = EntryPoints::of(&file, table.as_ref());
    for is_leaf in [false, true] {
        caller(&file, bytes, &starts, offset, is_leaf);
        caller(&file, bytes, &starts, offset % (bytes.len() as u64).max(1), is_leaf);
    }
    runtime(&file);
});
