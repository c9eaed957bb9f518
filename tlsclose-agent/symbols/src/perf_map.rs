//! `/tmp/perf-PID.map`: where JIT compilers say what their code is called. One line for each
//! function, `start size name`, both numbers hexadecimal, with or without `0x` (JDK 17 writes it).

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};

use crate::demangle::cut;
use crate::protocol::{NAME_MAX, Name};

/// Functions kept of one map; later lines are younger.
const ENTRIES_MAX: usize = 1 << 20;

/// Longest line looked at, in bytes.
const LINE_MAX: u64 = 16 * 1024;

/// Maps kept: this many, and of so much memory in all, in bytes; the last one whatever it takes.
const MAPS_MAX: usize = 16;
const MAPS_BYTES_MAX: usize = 256 << 20;

/// Maps of processes, the last ones that were read or asked for.
#[derive(Default)]
pub struct PerfMaps(VecDeque<(u64, PerfMap)>);

impl PerfMaps {
    /// Takes in the map of a process; returns the processes whose maps are kept now.
    pub fn keep(&mut self, process: u64, map: PerfMap) -> Vec<u64> {
        self.remove(process);
        self.0.push_front((process, map));
        self.0.truncate(MAPS_MAX);
        while self.0.len() > 1 && self.0.iter().map(|(_, map)| map.bytes()).sum::<usize>() > MAPS_BYTES_MAX {
            self.0.pop_back();
        }
        self.0.iter().map(|(process, _)| *process).collect()
    }

    /// The map of a process, which counts as asked for.
    pub fn get(&mut self, process: u64) -> Option<&PerfMap> {
        let at = self.0.iter().position(|(known, _)| *known == process)?;
        let found = self.0.remove(at)?;
        self.0.push_front(found);
        self.0.front().map(|(_, map)| map)
    }

    /// Forgets the map of a process.
    pub fn remove(&mut self, process: u64) {
        self.0.retain(|(known, _)| *known != process);
    }
}

/// All functions of one process, by address.
pub struct PerfMap {
    /// Start, end, and the number of its line.
    entries: Vec<(u64, u64, u32)>,
    names: Vec<Box<str>>,
    /// Of all names together.
    name_bytes: usize,
}

impl PerfMap {
    /// What is no entry is skipped.
    pub fn read(file: impl Read) -> Self {
        let mut map = Self { entries: Vec::new(), names: Vec::new(), name_bytes: 0 };
        let mut file = BufReader::new(file);
        let mut line = Vec::new();
        while map.entries.len() < ENTRIES_MAX {
            line.clear();
            match file.by_ref().take(LINE_MAX).read_until(b'\n', &mut line) {
                Ok(length) if length > 0 => {}
                _ => break,
            }
            if let Some((start, end, name)) = entry(&line) {
                map.entries.push((start, end, map.names.len() as u32));
                map.name_bytes += name.len();
                map.names.push(name.into());
            }
        }
        map.entries.shrink_to_fit();
        map.names.shrink_to_fit();
        map.entries.sort_unstable();
        map
    }

    /// Memory that it takes.
    fn bytes(&self) -> usize {
        /// Two numbers beside each name, and what an allocation takes beyond what was asked for.
        const EACH: usize = size_of::<(u64, u64, u32)>() + size_of::<Box<str>>() + 24;
        self.names.len() * EACH + self.name_bytes
    }

    /// The youngest function that holds the address. Addresses are used again when code is thrown away.
    pub fn name(&self, address: u64) -> Option<Name> {
        /// Entries that overlap are next to each other, but for nonsense.
        const NEIGHBOURS: usize = 64;
        let behind = self.entries.partition_point(|entry| entry.0 <= address);
        let near = self.entries[behind.saturating_sub(NEIGHBOURS)..behind].iter();
        let youngest = near.filter(|entry| address < entry.1).max_by_key(|entry| entry.2)?;
        Some(readable(&self.names[youngest.2 as usize]))
    }
}

fn entry(line: &[u8]) -> Option<(u64, u64, String)> {
    let line = String::from_utf8_lossy(line);
    let mut fields = line.trim_end().splitn(3, ' ');
    let (start, size, name) = (hex(fields.next()?)?, hex(fields.next()?)?, fields.next()?);
    let end = start.checked_add(size).filter(|end| *end > start)?;
    (!name.is_empty()).then(|| (start, end, cut(name, NAME_MAX).to_owned()))
}

fn hex(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits.strip_prefix("0x").unwrap_or(digits), 16).ok()
}

/// V8's `JS:~handle /srv/app.js:8:21` is `handle (app.js:8:21)` in `/srv/app.js`, whichever of its
/// compilers made the code. The place is where the function begins, not the line that made the
/// call; it tells functions without a name from each other. HotSpot's methods lose the type that
/// they return. Other names stay as they are.
fn readable(name: &str) -> Name {
    const KINDS: [&str; 5] = ["JS:", "LazyCompile:", "Function:", "Script:", "Eval:"];
    let plain = || Name { function: Some(java_method(name).unwrap_or(name).into()), ..Name::default() };
    let Some(rest) = KINDS.iter().find_map(|kind| name.strip_prefix(kind)) else { return plain() };
    let rest = rest.trim_start_matches(['*', '~', '^', '+', '-', '\'']);
    let Some((function, place)) = rest.split_once(' ') else { return plain() };
    let function = if function.is_empty() { "(anonymous)" } else { function };
    let base = place.rsplit('/').next().unwrap_or(place);
    let mut parts = place.rsplitn(3, ':');
    let is_number = |part: Option<&str>| part.is_some_and(|part| part.bytes().all(|b| b.is_ascii_digit()));
    let file = (is_number(parts.next()) && is_number(parts.next())).then(|| parts.next()).flatten();
    let file = file.filter(|file| !file.is_empty()).map(Into::into);
    Name { function: Some(cut(&format!("{function} ({base})"), NAME_MAX).into()), file, line: None }
}

/// `com.acme.Server.accept(int)` of `java.net.Socket com.acme.Server.accept(int)`.
fn java_method(name: &str) -> Option<&str> {
    let (returned, method) = name.split_once(' ')?;
    let is_type = returned.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._$[]".contains(&byte));
    let (class_and_name, arguments) = method.split_once('(')?;
    (is_type && class_and_name.contains('.') && arguments.ends_with(')')).then_some(method)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &[u8] = b"1000 10 JS:~dial /srv/app.js:8:21\n\
        0x2000 0x20 Lcom/acme/Server;::accept\nnonsense\n3000 0 empty\n-1 1 no\n\xff\xff \xff\n\
        4000 100 JS:~old /srv/app.js:1:1\n4010 10 LazyCompile:*new file:///srv/b.mjs:7:1\n\
        5000 10 JS:^ /srv/app.js:30:5\nffffffffffffffff 2 wraps\n6000 10 py::serve:/srv/app.py\n7000 10 Script:~\n\
        0x8000 0x10 java.net.Socket com.acme.Server.accept(int, byte[])\n8010 10 byte[] a.B.my name()\n\
        8020 10 void f(int)\n8030 10 Stub (a.b)";

    #[test]
    fn functions_are_found_by_address() {
        let map = PerfMap::read(MAP);
        let name = |function: &str, file: Option<&str>| {
            Some(Name { function: Some(function.into()), file: file.map(Into::into), line: None })
        };
        for (address, expected) in [
            (0x0fff, None),
            (0x1000, name("dial (app.js:8:21)", Some("/srv/app.js"))),
            (0x100f, name("dial (app.js:8:21)", Some("/srv/app.js"))),
            (0x1010, None),
            (0x2001, name("Lcom/acme/Server;::accept", None)),
            (0x3000, None),
            (0x4000, name("old (app.js:1:1)", Some("/srv/app.js"))),
            (0x4010, name("new (b.mjs:7:1)", Some("file:///srv/b.mjs"))),
            (0x5000, name("(anonymous) (app.js:30:5)", Some("/srv/app.js"))),
            (0x6000, name("py::serve:/srv/app.py", None)),
            (0x7000, name("Script:~", None)),
            (0x8000, name("com.acme.Server.accept(int, byte[])", None)),
            (0x8010, name("a.B.my name()", None)),
            (0x8020, name("void f(int)", None)),
            (0x8030, name("Stub (a.b)", None)),
            (u64::MAX, None),
        ] {
            assert_eq!(map.name(address), expected, "{address:#x}");
        }
    }

    #[test]
    fn the_maps_used_last_are_kept_and_all_are_bounded() {
        let map = |bytes| PerfMap { name_bytes: bytes, ..PerfMap::read(MAP) };
        let mut maps = PerfMaps::default();
        for process in 0..MAPS_MAX as u64 {
            maps.keep(process, map(0));
        }
        assert!(maps.get(0).is_some());
        let kept = maps.keep(0, map(0));
        assert_eq!(kept.len(), MAPS_MAX, "one for each process");
        let kept = maps.keep(100, map(0));
        assert!(kept.len() == MAPS_MAX && kept[..2] == [100, 0] && !kept.contains(&1), "{kept:?}");
        assert!(maps.get(1).is_none() && maps.get(2).is_some());
        assert_eq!(maps.keep(101, map(MAPS_BYTES_MAX / 2)).len(), MAPS_MAX);
        assert_eq!(maps.keep(102, map(MAPS_BYTES_MAX / 2)), [102]);
        assert_eq!(maps.keep(103, map(MAPS_BYTES_MAX * 2)), [103]);
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let long = [b"1000 10 ".as_slice(), &vec![b'x'; 1 << 20]].concat();
        let name = PerfMap::read(long.as_slice()).name(0x1000).unwrap();
        assert_eq!(name.function.unwrap().len(), NAME_MAX);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300), address: u64) {
            PerfMap::read(bytes.as_slice()).name(address);
        }

        #[test]
        fn no_lines_panic(text in "([0-9a-f]{0,4} [0-9a-f]{0,3} (JS:)?[*~]?[a-z/:. ]{0,20}\n){0,8}", address in 0..0x2000_u64) {
            PerfMap::read(text.as_bytes()).name(address);
        }
    }
}
