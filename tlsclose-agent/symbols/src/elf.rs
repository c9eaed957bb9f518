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

    /// What [`Self::parse`] reads.
    pub fn data(&self) -> &ReadCache<File> {
        &self.data
    }

    /// The GNU build id, hexadecimal.
    pub fn build_id(&self) -> Option<String> {
        let file = self.parse()?;
        let id = file.build_id().ok()??;
        let id = id.get(..BUILD_ID_MAX).unwrap_or(id);
        Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// There is debug information in the file itself.
    pub fn has_debug_info(&self) -> bool {
        let named = |file: object::File<'_, _>| {
            [".debug_info", ".zdebug_info"].iter().any(|name| file.section_by_name(name).is_some())
        };
        self.parse().is_some_and(named)
    }

    /// Name and CRC-32 of the separate debug file.
    pub fn debug_link(&self) -> Option<(String, u32)> {
        let file = self.parse()?;
        let (name, crc) = file.gnu_debuglink().ok()??;
        Some((String::from_utf8(name.to_vec()).ok()?, crc))
    }

    /// `debug` was split off this file: it has the same build id, or where there is none the
    /// contents that the link tells.
    pub fn is_of_build(&self, debug: &Elf) -> bool {
        match self.build_id() {
            Some(build_id) => debug.build_id() == Some(build_id),
            None => self.debug_link().is_some_and(|(_, crc)| debug.crc32() == Some(crc)),
        }
    }

    fn crc32(&self) -> Option<u32> {
        let mut hasher = crc32fast::Hasher::new();
        let length = (&self.data).len().ok()?;
        let mut at = 0;
        while at < length {
            let chunk = (length - at).min(1 << 20);
            hasher.update((&self.data).read_bytes_at(at, chunk).ok()?);
            at += chunk;
        }
        Some(hasher.finalize())
    }

    /// The address that the code at a file offset was linked for.
    pub fn address(&self, offset: u64) -> Option<u64> {
        address_of(&self.parse()?, offset)
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
