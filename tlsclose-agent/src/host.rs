//! What the host itself says: its name, its kernel, and the sockets that no file holds.

pub mod clock;
pub mod facts;
pub mod memory;
pub mod neighbours;
pub mod rights;

use std::{collections::HashMap, os::unix::fs::MetadataExt, path::Path};

/// Host name and kernel release (uname(2)).
pub fn name_and_kernel() -> (String, String) {
    let uname = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    (text(uname.nodename()), text(uname.release()))
}

/// Sockets that belong to no file, from `/proc/net/sockstat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockstat {
    /// Over all network namespaces (net/ipv4/proc.c: the orphan counter is global).
    pub orphans: u64,
    /// Summed over the network namespaces looked at.
    pub time_wait: u64,
}

/// The network namespaces of the host, each with a process to look through.
#[derive(Default)]
pub struct Namespaces {
    by_inode: HashMap<u64, u32>,
}

impl Namespaces {
    /// Looks at every process for namespaces that are new. A thousand processes take about 3 ms.
    pub fn refresh(&mut self, procfs: &Path) {
        self.by_inode.clear();
        let Ok(entries) = std::fs::read_dir(procfs) else { return };
        for entry in entries.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            if let Ok(namespace) = std::fs::metadata(entry.path().join("ns/net")) {
                self.by_inode.entry(namespace.ino()).or_insert(pid);
            }
        }
    }

    pub fn sockstat(&self, procfs: &Path) -> Sockstat {
        let mut sum = Sockstat::default();
        for pid in self.by_inode.values() {
            let Ok(text) = std::fs::read_to_string(procfs.join(pid.to_string()).join("net/sockstat")) else { continue };
            let one = parse(&text);
            sum.orphans = sum.orphans.max(one.orphans);
            sum.time_wait += one.time_wait;
        }
        sum
    }
}

/// `TCP: inuse 5 orphan 0 tw 2 alloc 8 mem 1`.
fn parse(text: &str) -> Sockstat {
    let mut stat = Sockstat::default();
    let Some(tcp) = text.lines().find_map(|line| line.strip_prefix("TCP:")) else { return stat };
    let words: Vec<&str> = tcp.split_whitespace().collect();
    for pair in words.chunks_exact(2) {
        let count = pair[1].parse().unwrap_or(0);
        match pair[0] {
            "orphan" => stat.orphans = count,
            "tw" => stat.time_wait = count,
            _ => {}
        }
    }
    stat
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockstat_is_read_by_name() {
        let text = "sockets: used 9\nTCP: inuse 5 orphan 3 tw 27 alloc 8 mem 1\nUDP: inuse 1 mem 0\n";
        assert_eq!(parse(text), Sockstat { orphans: 3, time_wait: 27 });
        assert_eq!(parse(""), Sockstat::default());
        assert_eq!(parse("TCP: tw"), Sockstat::default());
    }
}
