//! `tlsclose states`: a transition as a line in the columns of bcc's `tcpstates`.

use std::net::IpAddr;

use serde::{Serialize, Serializer};

use tlsclose_core::model::State;
use tlsclose_core::model::escape;

/// One transition. As JSON it is one line of `tlsclose states -o json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Transition {
    /// RFC 3339 in UTC.
    pub time: String,
    /// The socket's address in the kernel: the same for all transitions of one socket.
    #[serde(serialize_with = "hexadecimal")]
    pub skaddr: u64,
    /// Who holds the socket; null where nobody does yet.
    pub owner: Option<Owner>,
    pub local: IpAddr,
    pub local_port: u16,
    pub remote: IpAddr,
    pub remote_port: u16,
    pub old_state: State,
    pub new_state: State,
    /// Time in the old state, in milliseconds; null where its beginning was not seen.
    pub milliseconds: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Owner {
    pub pid: u32,
    pub comm: String,
}

fn hexadecimal<S: Serializer>(address: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{address:x}"))
}

/// Which columns there are, and how wide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// `-T`: the time comes first.
    pub time: bool,
    /// `-w`: wide enough for IPv6, with the IP version.
    pub wide: bool,
}

impl Columns {
    /// The line above all others, without its end.
    pub fn header(self) -> String {
        self.line([
            "TIME", "SKADDR", "C-PID", "C-COMM", "IP", "LADDR", "LPORT", "RADDR", "RPORT", "OLDSTATE", "NEWSTATE", "MS",
        ])
    }

    /// The line of a transition, without its end. An unknown owner is `?`.
    pub fn row(self, transition: &Transition) -> String {
        let (pid, comm) = match &transition.owner {
            Some(owner) => (owner.pid.to_string(), escape(&owner.comm).into_owned()),
            None => ("?".to_owned(), "?".to_owned()),
        };
        let (local, remote) = (plain(transition.local), plain(transition.remote));
        self.line([
            clock(&transition.time),
            &format!("{:x}", transition.skaddr),
            &pid,
            &comm,
            if local.is_ipv4() { "4" } else { "6" },
            &local.to_string(),
            &transition.local_port.to_string(),
            &remote.to_string(),
            &transition.remote_port.to_string(),
            &transition.old_state.name().to_ascii_uppercase(),
            &transition.new_state.name().to_ascii_uppercase(),
            &transition.milliseconds.map_or("?".to_owned(), |ms| format!("{ms:.3}")),
        ])
    }

    /// The widths of bcc's `tcpstates.py`.
    fn line(self, cells: [&str; 12]) -> String {
        let [time, skaddr, pid, comm, ip, laddr, lport, raddr, rport, old, new, ms] = cells;
        let time = match self.time {
            true => format!("{time:<8} "),
            false => String::new(),
        };
        match self.wide {
            true => format!(
                "{time}{skaddr:<16} {pid:<5} {comm:<16.16} {ip:<2} {laddr:<26} {lport:<5} {raddr:<26} {rport:<5} {old:<11} -> {new:<11} {ms}"
            ),
            false => format!(
                "{time}{skaddr:<16} {pid:<5} {comm:<10.10} {laddr:<15} {lport:<5} {raddr:<15} {rport:<5} {old:<11} -> {new:<11} {ms}"
            ),
        }
    }
}

/// A v4-mapped address as the IPv4 address it is.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// `18:31:07` of `2026-11-20T18:31:07Z`.
fn clock(time: &str) -> &str {
    time.get(11..19).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transition() -> Transition {
        Transition {
            time: "2026-11-20T18:31:07.123Z".to_owned(),
            skaddr: 0xffff_9fd7_e819_2000,
            owner: Some(Owner { pid: 22384, comm: "curl".to_owned() }),
            local: "100.66.100.185".parse().unwrap(),
            local_port: 63446,
            remote: "52.33.159.26".parse().unwrap(),
            remote_port: 80,
            old_state: State::SynSent,
            new_state: State::Established,
            milliseconds: Some(1.3733),
        }
    }

    #[test]
    fn the_columns_are_those_of_tcpstates() {
        let columns = Columns::default();
        assert_eq!(
            columns.header() + "\n" + &columns.row(&transition()),
            "\
SKADDR           C-PID C-COMM     LADDR           LPORT RADDR           RPORT OLDSTATE    -> NEWSTATE    MS
ffff9fd7e8192000 22384 curl       100.66.100.185  63446 52.33.159.26    80    SYN_SENT    -> ESTABLISHED 1.373"
        );
    }

    #[test]
    fn wide_has_room_for_ipv6_and_the_time_comes_first() {
        let columns = Columns { time: true, wide: true };
        let mut transition = transition();
        transition.local = "2001:db8::1".parse().unwrap();
        assert_eq!(
            columns.header() + "\n" + &columns.row(&transition),
            "\
TIME     SKADDR           C-PID C-COMM           IP LADDR                      LPORT RADDR                      RPORT OLDSTATE    -> NEWSTATE    MS
18:31:07 ffff9fd7e8192000 22384 curl             6  2001:db8::1                63446 52.33.159.26               80    SYN_SENT    -> ESTABLISHED 1.373"
        );
    }

    #[test]
    fn what_is_not_known_is_a_question_mark() {
        let mut transition = transition();
        transition.owner = None;
        transition.milliseconds = None;
        transition.local = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(
            Columns::default().row(&transition),
            "ffff9fd7e8192000 ?     ?          10.0.0.1        63446 52.33.159.26    80    SYN_SENT    -> ESTABLISHED ?"
        );
    }

    #[test]
    fn a_hostile_name_is_escaped_and_cut() {
        let mut transition = transition();
        transition.owner = Some(Owner { pid: 1, comm: "a\n\x1bbcdefghij".to_owned() });
        let row = Columns::default().row(&transition);
        assert!(row.contains(" a\\n\\u{1b}b 100.66"), "{row}");
    }

    #[test]
    fn json_is_one_line_with_named_fields() {
        assert_eq!(
            serde_json::to_string(&transition()).unwrap(),
            "{\"time\":\"2026-11-20T18:31:07.123Z\",\"skaddr\":\"ffff9fd7e8192000\",\"owner\":{\"pid\":22384,\"comm\":\"curl\"},\
             \"local\":\"100.66.100.185\",\"local_port\":63446,\"remote\":\"52.33.159.26\",\"remote_port\":80,\
             \"old_state\":\"syn_sent\",\"new_state\":\"established\",\"milliseconds\":1.3733}"
        );
    }
}
