//! When maps get their memory. From 6.1 on programs may allocate it as they need it, from caches that BPF keeps for
//! that (kernel/bpf/memalloc.c); before, they would call the kernel's allocator from wherever they run, so all of a
//! map's memory is taken at its creation.

use object::{Object, ObjectSection, ObjectSymbol};

use super::btf::Btf;

/// Where aya keeps its definitions of maps, one after the other, each a symbol.
const SECTION: &str = "maps";
/// `map_flags` in such a definition (`bpf_map_def` in aya-ebpf), and the flag (include/uapi/linux/bpf.h).
const FLAGS: u64 = 16;
const NO_PREALLOC: u8 = 1;

/// The kernel has those caches.
pub(super) fn may_wait(btf: &Btf) -> bool {
    btf.size("bpf_mem_alloc").is_ok()
}

/// The same BPF object with maps that allocate all when they are created. None if it is no such object.
pub(super) fn at_once(object: &[u8]) -> Option<Vec<u8>> {
    let file = object::File::parse(object).ok()?;
    let section = file.section_by_name(SECTION)?;
    let (start, _) = section.file_range()?;
    let is_map = |symbol: &object::Symbol| {
        symbol.section_index() == Some(section.index()) && !symbol.name_bytes().is_ok_and(<[u8]>::is_empty)
    };
    let mut bytes = object.to_vec();
    for map in file.symbols().filter(is_map) {
        *bytes.get_mut(usize::try_from(start + map.address() + FLAGS).ok()?)? &= !NO_PREALLOC;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_came_with_6_1() {
        let recorded = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/btf");
        for (kernel, has) in [("5.10", false), ("6.1", true), ("6.12", true), ("6.18", true), ("7.2", true)] {
            let types = std::fs::read(recorded.join(format!("{kernel}.btf"))).unwrap();
            assert_eq!(may_wait(&Btf::parse(&types).unwrap()), has, "{kernel}");
        }
    }
}
