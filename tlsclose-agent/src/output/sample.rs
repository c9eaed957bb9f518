//! A snapshot for the tests of all outputs: the finding of the documentation, and a quiet one.

use std::collections::BTreeMap;

use crate::{
    api::*,
    host::{facts::HostFact, neighbours::Conntrack},
};
use tlsclose_core::{
    closes::{aborts::AbortSeries, tls::TlsProgram},
    model::*,
};

mod sites;

pub use self::sites::{OTHER_SITE, SITE, TLS_SITE, frame, truncating};
use self::sites::{aborting, half_open, leaking, lingering};

/// The report of the documentation, with a second, lingering site.
pub fn report() -> Report {
    Report {
        schema: SCHEMA,
        host: "node-7".to_owned(),
        kernel: "6.12.117".to_owned(),
        watching_since: "2026-11-20T18:00:00Z".to_owned(),
        generated_at: "2026-11-20T18:31:07Z".to_owned(),
        complete: true,
        incomplete: Vec::new(),
        lost: LostTotals::default(),
        census: CensusInfo { interval_seconds: 5.0, seconds: 0.021, tasks: 412, fds: 30112 },
        sites: vec![leaking(), lingering()],
        tls_sites: vec![],
        aborted_sites: vec![aborting()],
        half_open_sites: vec![half_open()],
    }
}

pub fn identity() -> Workload {
    Workload {
        namespace: "shop".to_owned(),
        pod: "payments-6d8".to_owned(),
        container: "api".to_owned(),
        comm: "payments".to_owned(),
    }
}

fn series() -> SiteSeries {
    SiteSeries {
        identity: identity(),
        kind: Kind::CloseWaitEofRead,
        site: SITE.to_owned(),
        lingering: 412,
        leaking: 412,
        lingered_total: 430,
        ended_total: Ended { closed: 18, ..Ended::default() },
        oldest_seconds: 1833.2,
    }
}

fn site_info() -> SiteInfo {
    SiteInfo {
        site: SITE.to_owned(),
        kind: Kind::CloseWaitEofRead,
        exe: "/srv/payments".to_owned(),
        opened: "accept_loop (src/server.rs:88)".to_owned(),
        touched: "handle_request (src/server.rs:131)".to_owned(),
    }
}

fn features() -> Vec<Feature> {
    vec![
        Feature {
            name: "census".to_owned(),
            available: true,
            probe: "iter/task_file loads".to_owned(),
            needs: "iter/task_file (5.8)".to_owned(),
            fallback: String::new(),
            without: String::new(),
        },
        Feature {
            name: "eof_stacks".to_owned(),
            available: false,
            probe: "no tracepoint sock_recv_length".to_owned(),
            needs: "tp_btf/sock_recv_length (6.3)".to_owned(),
            fallback: "fexit/tcp_recvmsg".to_owned(),
            without: "no stack of the read that returned 0".to_owned(),
        },
    ]
}

/// Everything the metrics are made from, for the report above.
pub fn snapshot() -> Snapshot {
    Snapshot {
        report: report(),
        series: vec![series()],
        site_infos: vec![site_info()],
        tls_closes: vec![TlsProgram {
            identity: identity(),
            local: TlsOutcomes { clean: 3, truncated: 37, ..TlsOutcomes::default() },
            remote: TlsOutcomes { unknown: 40, ..TlsOutcomes::default() },
            after_data: 30,
        }],
        processes: vec![ProcessSeries {
            identity: identity(),
            open_fds: Some(1870),
            max_fds: Some(4096),
            fds_exhausted_seconds: Some(32600.5),
            emfile_errors_total: 3,
        }],
        accept_queues: vec![QueueSeries { identity: identity(), length: 5, limit: 128, syn_recv: 3 }],
        close_calls: vec![(CloseResult::Closed, 90), (CloseResult::StillHeld, 2), (CloseResult::BadFd, 1)],
        aborts: vec![AbortSeries { identity: identity(), cause: AbortCause::UnreadData, total: 8 }],
        half_open: vec![HalfOpenSeries { identity: identity(), reason: HalfOpenReason::Idle, sockets: 6 }],
        spinning: BTreeMap::from([(identity(), 3)]),
        unheld: 3,
        adopted: BTreeMap::from([((Workload::default(), Kind::FinWait2Held), 2)]),
        sockets: BTreeMap::from([(State::CloseWait, 412), (State::Established, 7)]),
        ignored: 0,
        orphans: 4,
        syncookies: 11,
        conntrack: Some(Conntrack { entries: 300, limit: 262_144 }),
        transitions: BTreeMap::from([((State::Established, State::CloseWait), 430)]),
        half_closed_seconds: BTreeMap::from([(
            State::CloseWait,
            Histogram { buckets: vec![(0.1, 5), (1.0, 7), (f64::INFINITY, 9)], sum: 12.5 },
        )]),
        lost: BTreeMap::from([(Loss::StacksBudget, 17)]),
        census_duration: Histogram { buckets: vec![(0.01, 1), (f64::INFINITY, 2)], sum: 0.021 },
        programs: vec![ProgramRuns { program: "transition".to_owned(), seconds: 0.25, runs: 1_000_000 }],
        maps: vec![MapUse { map: "HALF_CLOSED".to_owned(), entries: 412, max_entries: 131_072 }],
        host: vec![HostFact {
            name: "pid_namespace".to_owned(),
            found: "a container's".to_owned(),
            costs: "only 12 processes are seen".to_owned(),
        }],
        features: features(),
        ready: true,
    }
}
