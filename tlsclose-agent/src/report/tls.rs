//! Code paths that hang up without a TLS goodbye, and how the goodbye stands on half-closed sockets.

use tlsclose_common::facts::tls_now;
use tlsclose_core::{
    closes::tls::{TlsRecord, TlsSiteKey},
    leaks::tracker::LastSeen,
    model::{Death, Kind},
};

use super::rounding::tenths;
use crate::{
    api::{Goodbye, PROCESSES_SHOWN, TlsProcess, TlsSite, TlsStanding},
    watch::View,
    why,
};

/// Sites with truncated closes, those with the most first.
pub(super) fn tls_sites(view: &View) -> Vec<TlsSite> {
    let truncating = view.tls.sites.iter().filter(|(_, record)| record.outcomes.truncated > 0);
    let mut sites: Vec<TlsSite> = truncating.map(|(key, record)| site(view, key, record)).collect();
    sites.sort_by(|a, b| b.outcomes.truncated.cmp(&a.outcomes.truncated).then_with(|| a.site.cmp(&b.site)));
    sites
}

fn site(view: &View, key: &TlsSiteKey, record: &TlsRecord) -> TlsSite {
    let closes = record.outcomes.total();
    let processes = record.busiest().filter_map(|(process, (closes, truncated))| {
        let known = view.processes.get(&process)?;
        Some(TlsProcess {
            pid: process.tgid,
            comm: known.who.comm.clone(),
            exe: known.who.exe.clone(),
            started_at: known.who.started_at.clone(),
            closes,
            truncated,
            container: known.container.clone(),
        })
    });
    TlsSite {
        why: why::tls::why(&record.outcomes, record.process_exit, record.after_data, record.closed.as_ref()),
        fix: why::fix(Kind::TlsTruncated, Death::default()),
        site: key.site.clone(),
        kind: Kind::TlsTruncated,
        comm: key.comm.clone(),
        exe: record.exe.clone(),
        closes,
        outcomes: record.outcomes,
        peer_first: record.peer_first,
        process_exit: record.process_exit,
        after_data: record.after_data,
        per_minute: tenths(view.tls.per_minute(record, view.now)),
        share: (record.outcomes.truncated as f64 / closes.max(1) as f64 * 1000.0).round() / 1000.0,
        processes: processes.take(PROCESSES_SHOWN).collect(),
        closed: record.closed.clone(),
    }
}

/// What each side has said on a socket; None when it is not TLS, or not known to be.
pub(super) fn standing(last: &LastSeen) -> Option<TlsStanding> {
    let is = |bit: u8| last.tls & bit != 0;
    if !is(tls_now::IS_TLS) {
        return None;
    }
    let of = |said: u8, unknown: u8, unseen: bool| match () {
        () if is(unknown) || unseen => Goodbye::Unknown,
        () if is(said) => Goodbye::Said,
        () => Goodbye::NotSaid,
    };
    // The FIN counts as one byte; what else was not read may be a goodbye.
    let unread = last.recv_queue > 1;
    Some(TlsStanding {
        local: of(tls_now::LOCAL_GOODBYE, tls_now::LOCAL_UNKNOWN, false),
        remote: of(tls_now::REMOTE_GOODBYE, tls_now::REMOTE_UNKNOWN, unread),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_read_may_be_a_goodbye() {
        let seen = |tls: u8, recv_queue: u32| standing(&LastSeen { tls, recv_queue, ..LastSeen::default() });
        let both = |local, remote| Some(TlsStanding { local, remote });
        use Goodbye::{NotSaid, Said, Unknown};
        assert_eq!(seen(0, 0), None);
        assert_eq!(seen(tls_now::REMOTE_GOODBYE, 0), None);
        assert_eq!(seen(tls_now::IS_TLS, 1), both(NotSaid, NotSaid));
        assert_eq!(seen(tls_now::IS_TLS, 25), both(NotSaid, Unknown));
        assert_eq!(seen(tls_now::IS_TLS | tls_now::REMOTE_GOODBYE, 1), both(NotSaid, Said));
        assert_eq!(seen(tls_now::IS_TLS | tls_now::LOCAL_UNKNOWN, 0), both(Unknown, NotSaid));
        assert_eq!(seen(tls_now::IS_TLS | tls_now::LOCAL_GOODBYE, 0), both(Said, NotSaid));
    }
}
