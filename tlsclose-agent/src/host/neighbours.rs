//! What else runs full when connections do not end: SYN cookies, and the table of connection tracking.

use std::{collections::HashMap, path::Path};

use super::Namespaces;

/// Connections that netfilter tracks in the agent's network namespace, and how many it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conntrack {
    pub entries: u64,
    pub limit: u64,
}

impl Conntrack {
    /// None where connections are not tracked.
    pub fn read(procfs: &Path) -> Option<Self> {
        let number = |name: &str| {
            let file = procfs.join("sys/net/netfilter").join(name);
            std::fs::read_to_string(file).ok()?.trim().parse().ok()
        };
        Some(Self { entries: number("nf_conntrack_count")?, limit: number("nf_conntrack_max")? })
    }
}

/// SYN cookies sent since the agent started, in all network namespaces.
#[derive(Debug, Default)]
pub struct Syncookies {
    /// By namespace, as last seen.
    seen: HashMap<u64, u64>,
    total: u64,
    looked: bool,
}

impl Syncookies {
    /// What was sent before the first look does not count, nor does what a namespace sent that
    /// came and went between two.
    pub fn refresh(&mut self, namespaces: &Namespaces, procfs: &Path) -> u64 {
        let counters = namespaces.by_inode.iter().filter_map(|(inode, pid)| {
            let text = std::fs::read_to_string(procfs.join(pid.to_string()).join("net/netstat")).ok()?;
            Some((*inode, sent(&text)?))
        });
        let counters: HashMap<u64, u64> = counters.collect();
        self.update(counters)
    }

    fn update(&mut self, counters: HashMap<u64, u64>) -> u64 {
        if self.looked {
            for (inode, now) in &counters {
                self.total += now.saturating_sub(self.seen.get(inode).copied().unwrap_or(0));
            }
        }
        (self.seen, self.looked) = (counters, true);
        self.total
    }
}

/// `SyncookiesSent` out of the two `TcpExt:` lines of `/proc/net/netstat`: names, then values.
fn sent(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|name| name == "SyncookiesSent")?;
    values.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_read_by_name() {
        let text = "TcpExt: A SyncookiesSent B\nTcpExt: 1 27 3\nIpExt: X\nIpExt: 9\n";
        assert_eq!(sent(text), Some(27));
        assert_eq!(sent("TcpExt: A\nTcpExt: 1\n"), None);
        assert_eq!(sent(""), None);
    }

    #[test]
    fn only_what_is_sent_from_now_on_counts_and_never_backwards() {
        let mut cookies = Syncookies::default();
        assert_eq!(cookies.update(HashMap::from([(1, 100)])), 0);
        assert_eq!(cookies.update(HashMap::from([(1, 103), (2, 4)])), 7);
        assert_eq!(cookies.update(HashMap::from([(2, 4)])), 7);
        assert_eq!(cookies.update(HashMap::from([(2, 5)])), 8);
    }

    #[test]
    fn without_connection_tracking_there_is_nothing_to_show() {
        assert_eq!(Conntrack::read(Path::new("/nowhere")), None);
    }
}
