//! What of an ELF file is read here and not by blazesym: its build id, links to other files, and
//! unwind tables.

use std::borrow::Cow;
use std::fs::{self, File};
use std::path::Path;

use object::read::{ReadCache, ReadRef};
use object::{Object, ObjectSection, ObjectSegment};

/// A section that unpacks to more than this is not unpacked, in bytes.
const SECTION_MAX: u64 = 64 << 20;

/// Longest build id shown, in bytes: SHA-512 has 64.
const BUILD_ID_MAX: usize = 64;

/// The contents of a module, read as needed.
pub struct Elf {
    data: ReadCache<File>,
}

impl Elf {
    pub fn new(file: File) -> Self {
        Self { data: ReadCache::new(file) }
    }

    /// None when it is no ELF file.
    pub fn parse(&self) -> Option<object::File<'_, &ReadCache<File>>> {
        object::File::parse(&self.data).ok()
    }

    /// The GNU build id, hexadecimal.
    pub fn build_id(&self) -> Option<String> {
        let file = self.parse()?;
        let id = file.build_id().ok()??;
        let id = id.get(..BUILD_ID_MAX).unwrap_or(id);
        Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether the file asks for debug information in something that is there and is no regular
    /// file: opening that may hang (a FIFO) or worse.
    pub fn links_to_a_trap(&self) -> bool {
        let Some(file) = self.parse() else {
            return false;
        };
        [".gnu_debuglink", ".gnu_debugaltlink", ".debug_sup"]
            .iter()
            .filter_map(|name| section(&file, name))
            .any(|link| is_trap(&link))
    }
}

/// `.debug_sup` has its name behind a version and a flag, in all three bytes.
fn is_trap(link: &[u8]) -> bool {
    [0, 3].iter().any(|start| {
        let name = link.get(*start..).unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(name);
        // Where blazesym looks for it: beside the file, which is a descriptor of ours.
        let target = fs::metadata(Path::new("/proc/self/fd").join(name));
        !name.is_empty() && target.is_ok_and(|target| !target.is_file())
    })
}

/// The contents of a section, unpacked; None where there is none or it is too large.
pub fn section<'a, R: ReadRef<'a>>(file: &object::File<'a, R>, name: &str) -> Option<Cow<'a, [u8]>> {
    let section = file.section_by_name(name)?;
    let data = section.compressed_data().ok()?;
    if data.uncompressed_size > SECTION_MAX {
        return None;
    }
    data.decompress().ok()
}

/// The address that the code at a file offset was linked for.
pub fn address_of<'a, R: ReadRef<'a>>(file: &object::File<'a, R>, offset: u64) -> Option<u64> {
    file.segments().find_map(|segment| {
        let (start, size) = segment.file_range();
        let within = offset.checked_sub(start).filter(|within| *within < size)?;
        segment.address().checked_add(within)
    })
}
