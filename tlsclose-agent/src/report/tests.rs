//! Reports are made from views: no kernel is asked, and no process.

use std::{collections::BTreeMap, time::Duration};

use tlsclose_common::facts::{Holder, Origin, call, state};
use tlsclose_core::{
    closes::{aborts::AbortAccounts, tls::TlsAccounts},
    leaks::{
        accept_queues::AcceptQueues,
        fd_exhaustion::EmfileAccounts,
        half_open::HalfOpen,
        sites::{Described, Sites},
        tracker::Tracker,
    },
    model::{Kind, Loss, Moment, PathId, ProcessId, Ticks, Workload, series_limit::Limits},
};

use super::*;
use crate::{
    attribution::process::{Identity, Vitals},
    host::Sockstat,
    watch::{
        CensusLog, KnownProcess, SpinningNow,
        view::{HolderState, HostFacts, KernelFacts},
    },
};

const PAYMENTS: ProcessId = ProcessId { tgid: 4117, started_at: 9 };
const LIMITS: Limits = Limits { sites: 10, series: 10, programs: 10 };

fn workload() -> Workload {
    Workload { comm: "payments".into(), ..Workload::default() }
}

/// Three censuses of four sockets whose end was read and which nobody closed.
fn leaking() -> Sites {
    let (mut tracker, mut sites) = (Tracker::default(), Sites::new(LIMITS));
    for census in 1..4 {
        let now = Moment(census * 60_000_000_000);
        tracker.begin(now);
        for port in 0..4 {
            let mut record = Holder {
                sk: 0x1000 + u64::from(port),
                state: state::CLOSE_WAIT,
                tgid: PAYMENTS.tgid,
                started_at: PAYMENTS.started_at,
                fd: 7 + u32::from(port),
                family: 2,
                local: [10, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                local_port: 8443,
                remote_port: 50_000 + port,
                ..Holder::default()
            };
            record.origin = Origin { opened: 5, opened_call: call::ACCEPT4, ..Origin::default() };
            tracker.observe(&record, Ticks::default(), |key| Some(PathId(key as u32)));
        }
        let changes = tracker.finish(|_| true, |_| Duration::from_secs(60));
        for group in tracker.sockets().map(|socket| socket.group).collect::<std::collections::BTreeSet<_>>() {
            if !sites.knows(&group) {
                let described = Described { identity: workload(), exe: "/srv/payments".into(), ..Described::default() };
                sites.place(group, described, now);
            }
        }
        sites.book(&changes);
        sites.tally(now, Duration::from_secs(300), tracker.sockets(), |_| (8, 16));
    }
    sites
}

struct Accounts {
    log: CensusLog,
    sites: Sites,
    queues: AcceptQueues,
    half_open: HalfOpen,
    aborts: AbortAccounts,
    tls: TlsAccounts,
    emfile: EmfileAccounts,
    spinning: SpinningNow,
}

impl Accounts {
    fn of(sites: Sites) -> Self {
        Self {
            log: CensusLog::new(Duration::from_secs(5)),
            sites,
            queues: AcceptQueues::default(),
            half_open: HalfOpen::default(),
            aborts: AbortAccounts::new(LIMITS),
            tls: TlsAccounts::new(LIMITS),
            emfile: EmfileAccounts::default(),
            spinning: SpinningNow::default(),
        }
    }

    /// All of it, with what is known of the process; and with nobody known.
    fn view(&self, known: bool) -> View<'_> {
        let who = Identity { comm: "payments".into(), exe: "/srv/payments".into(), ..Identity::default() };
        let vitals = Vitals { open_fds: Some(8), max_fds: Some(16), rss_bytes: None };
        let known = |_: &ProcessId| known;
        View {
            now: Moment(200_000_000_000),
            generated_at: jiff::Timestamp::UNIX_EPOCH,
            log: &self.log,
            sites: &self.sites,
            queues: &self.queues,
            half_open: &self.half_open,
            aborts: &self.aborts,
            tls: &self.tls,
            emfile: &self.emfile,
            spinning: &self.spinning,
            ignored: 0,
            kernel: KernelFacts { sees_all: true, ..KernelFacts::default() },
            host: HostFacts {
                name: "node-7".into(),
                kernel: "6.12".into(),
                facts: &[],
                sockstat: Sockstat::default(),
                syncookies: 0,
                conntrack: None,
            },
            processes: [(PAYMENTS, KnownProcess { who, container: None })]
                .into_iter()
                .filter(|(id, _)| known(id))
                .collect(),
            holders: [(PAYMENTS, HolderState { vitals, ..HolderState::default() })]
                .into_iter()
                .filter(|(id, _)| known(id))
                .collect(),
            labels: [(PAYMENTS, workload())].into_iter().filter(|(id, _)| known(id)).collect(),
            evidence: BTreeMap::new(),
            openings: BTreeMap::new(),
        }
    }
}

#[test]
fn a_view_becomes_the_same_report_however_often_it_is_asked() {
    let accounts = Accounts::of(leaking());
    let view = accounts.view(true);
    let (first, second) = (snapshot(&view), snapshot(&view));
    assert_eq!((&first.report, &first.processes), (&second.report, &second.processes));
    let [site] = &first.report.sites[..] else { panic!("{:#?}", first.report.sites) };
    assert_eq!((site.kind, site.sockets, site.lingered, site.adopted), (Kind::CloseWaitEofRead, 4, 0, 4));
    // They are as old as the agent: the first census is the base line.
    assert!(matches!(site.per_minute, None | Some(0.0)), "{:?}", site.per_minute);
    let [process] = &site.processes[..] else { panic!("{site:#?}") };
    assert_eq!((process.pid, &*process.comm, process.open_fds, process.max_fds), (4117, "payments", Some(8), Some(16)));
    let example = &site.examples[0];
    assert_eq!((&*example.local, &*example.remote), ("10.0.0.4:8443", "0.0.0.0:50000"));
    assert_eq!((example.holders[0].pid, &*example.holders[0].comm, example.holders[0].fd), (4117, "payments", 7));
    assert_eq!(first.processes[0].identity, workload());
    assert!(first.report.complete);
}

#[test]
fn who_is_not_known_is_left_out_and_the_sockets_stay() {
    let accounts = Accounts::of(leaking());
    let shown = snapshot(&accounts.view(false));
    let [site] = &shown.report.sites[..] else { panic!("{:#?}", shown.report.sites) };
    assert_eq!((site.sockets, site.processes.len()), (4, 0));
    assert_eq!(site.examples[0].holders[0].comm, "");
    assert!(shown.processes.is_empty());
}

#[test]
fn what_was_lost_adds_up_and_makes_the_report_incomplete() {
    let accounts = Accounts::of(Sites::new(LIMITS));
    let mut view = accounts.view(true);
    view.kernel.counters.lost.insert(Loss::SocketsMapFull, 3);
    view.kernel.lost = vec![(Loss::PathsFull, 2), (Loss::Recursion, 1)];
    let report = snapshot(&view).report;
    assert_eq!((report.lost.sockets, report.lost.stacks, report.lost.events), (3, 2, 1));
    assert!(!report.complete);
    assert_eq!(report.incomplete, [Incomplete::SocketsLost]);
    view.kernel.counters.lost.clear();
    view.kernel.sees_all = false;
    assert_eq!(snapshot(&view).report.incomplete, [Incomplete::PidNamespace], "nothing but the truth");
}
