//! `/proc/PID/maps`, as far as program counters need it.

/// One executable mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Where `start` lies in the file, in bytes.
    pub offset: u64,
    /// Major and minor number as printed: on btrfs and overlayfs not those of stat().
    pub device: (u32, u32),
    pub inode: u64,
    pub backing: Backing,
}

/// What a mapping shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// A file; the path as the process sees it, raw, without ` (deleted)`.
    File(Vec<u8>),
    Vdso,
    /// Code that no file holds: a JIT's.
    Anonymous,
}

/// The executable mappings in `maps`, by ascending address. What is no mapping is skipped.
pub fn executable(maps: &[u8]) -> Vec<Mapping> {
    let lines = maps.split(|byte| *byte == b'\n');
    let mut mappings: Vec<Mapping> = lines.filter_map(mapping).collect();
    mappings.sort_by_key(|mapping| mapping.start);
    mappings
}

/// `start-end perms offset major:minor inode   path`, all numbers but the inode hexadecimal.
/// The path may contain spaces; the kernel writes a newline in it as `\012`.
fn mapping(line: &[u8]) -> Option<Mapping> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let mut field = || std::str::from_utf8(fields.next()?).ok();
    let (start, end) = field()?.split_once('-')?;
    let permissions = field()?;
    let offset = field()?;
    let (major, minor) = field()?.split_once(':')?;
    let inode = field()?;
    if permissions.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let (start, end) = (hex(start)?, hex(end)?);
    let path = fields.next().unwrap_or_default().trim_ascii_start();
    (start < end).then_some(Mapping {
        start,
        end,
        offset: hex(offset)?,
        device: (hex(major)? as u32, hex(minor)? as u32),
        inode: inode.parse().ok()?,
        backing: backing(path),
    })
}

fn hex(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}

fn backing(path: &[u8]) -> Backing {
    match path {
        b"[vdso]" => Backing::Vdso,
        [b'/', ..] => Backing::File(crate::attribution::process::procfs::without_deleted(path).to_vec()),
        _ => Backing::Anonymous,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backings(maps: &str) -> Vec<Backing> {
        let mappings = executable(maps.as_bytes());
        mappings.into_iter().map(|m| m.backing).collect()
    }

    fn file(path: &str) -> Backing {
        Backing::File(path.into())
    }

    #[test]
    fn executable_mappings_are_found_with_their_files() {
        let mappings = executable(
            b"55d000000000-55d000002000 r--p 00000000 fe:00 1234                       /usr/bin/a b\n\
              55d000002000-55d000005000 r-xp 00002000 fe:00 1234                       /usr/bin/a b\n",
        );
        assert_eq!(
            mappings,
            [Mapping {
                start: 0x55d0_0000_2000,
                end: 0x55d0_0000_5000,
                offset: 0x2000,
                device: (0xfe, 0),
                inode: 1234,
                backing: file("/usr/bin/a b"),
            }]
        );
    }

    #[test]
    fn every_kind_of_path_is_understood() {
        let cases = [
            ("/srv/payments (deleted)", file("/srv/payments")),
            ("/srv/new\\012line", file("/srv/new\\012line")),
            ("/memfd:jit (deleted)", file("/memfd:jit")),
            ("/srv/ two  spaces", file("/srv/ two  spaces")),
            ("[vdso]", Backing::Vdso),
            ("[vsyscall]", Backing::Anonymous),
            ("[anon:code]", Backing::Anonymous),
            ("", Backing::Anonymous),
        ];
        for (path, expected) in cases {
            let line = format!("1000-2000 r-xp 00000000 00:00 0                          {path}\n");
            assert_eq!(backings(&line), [expected], "{path}");
        }
        assert_eq!(backings("1000-2000 rwxp 0 00:00 0"), [Backing::Anonymous]);
    }

    #[test]
    fn garbage_is_skipped() {
        for line in [
            "",
            "-",
            "1000-2000",
            "1000-2000 r-xp",
            "zz-2000 r-xp 0 0:0 0 /a",
            "2000-1000 r-xp 0 0:0 0 /a",
            "1000-2000 r- 0 0:0 0 /a",
            "1000-2000 r-xp 0 0:0 -1 /a",
            "10000000000000000-2 r-xp 0 0:0 1 /a",
        ] {
            assert_eq!(backings(line), [], "{line}");
        }
        assert!(executable(b"\xff\xff-\xff r-xp 0 0:0 1 /\xff").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(maps in ".*", raw in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            executable(maps.as_bytes());
            executable(&raw);
        }
    }
}
