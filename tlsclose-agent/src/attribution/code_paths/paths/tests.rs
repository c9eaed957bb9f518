use std::fs::File;

use super::*;
use crate::attribution::process::Procfs;
use crate::attribution::symbols::tests::symbolizer_without_helper;

#[test]
fn copies_that_come_while_nothing_can_be_said_do_not_use_up_those_of_their_place() {
    let mut modules = Modules::new(Procfs::new("/proc"));
    let module = modules.insert_file("/srv/program", File::open("/proc/self/exe").unwrap());
    let process = ProcessId { tgid: std::process::id(), started_at: 0 };
    let mut paths = Paths::default();
    paths.spaces.insert(1, process, MappedModules::of_ranges(&[(0x1000, 0x9000, 0, module.0)]));
    let header = StackHeader { tgid: process.tgid, image: 1, key: 1, pc: 0x2000, ..StackHeader::default() };
    let learned = paths.copied(&header, &[0; PAGE], &mut modules, &mut symbolizer_without_helper());
    let afresh = LeafRule { status: leaf::UNKNOWN, copies: 0, return_address: 0, frame_pointer: 0 };
    assert_eq!(learned, SoFar::all(Some((LeafKey { image: 1, pc: 0x2000 }, afresh))));
    assert_eq!(paths.by_key(1), None);
}
