//! Sites of every kind, and what they are made of.

use std::collections::BTreeMap;

use crate::api::*;
use tlsclose_core::model::*;

pub const SITE: &str = "9f2c41d0a7be";
pub const OTHER_SITE: &str = "00aa11bb22cc";
pub const TLS_SITE: &str = "5a1e00c0ffee";

pub fn frame(function: &str, file: &str, line: u32) -> Frame {
    Frame {
        function: Some(function.into()),
        file: Some(file.into()),
        line: Some(line),
        module: Some("/srv/payments".into()),
        build_id: Some("4c1f".into()),
        offset: Some(FileOffset(0x1f3a0)),
        inlined: false,
    }
}

fn process(pid: u32, comm: &str, exe: &str, sockets: u64) -> Process {
    Process {
        pid,
        ns_pid: 1,
        comm: comm.to_owned(),
        exe: exe.to_owned(),
        cmdline: None,
        uid: 1000,
        started_at: "2026-11-20T09:12:44Z".to_owned(),
        sockets,
        open_fds: Some(1870),
        max_fds: Some(4096),
        fds_exhausted_in_seconds: Some(32600.0),
        rss_bytes: Some(93_147_136),
        emfile_errors: 0,
        bad_closes: None,
        container: None,
    }
}

fn example(local: &str, remote: &str, state: State, age_seconds: f64, fd: u32) -> Example {
    Example {
        local: local.to_owned(),
        remote: remote.to_owned(),
        state,
        age_seconds,
        holders: vec![HolderInfo { pid: 4117, comm: "payments".to_owned(), fd }],
        holder_unknown: false,
        blocked_threads: vec![],
        recv_queue: 0,
        send_queue: 0,
        netns: 4_026_531_840,
        tls: None,
    }
}

pub fn leaking() -> Site {
    let mut payments = process(4117, "payments", "/srv/payments", 412);
    payments.cmdline = Some(vec!["/srv/payments".to_owned(), "--key=secret".to_owned()]);
    payments.container = Some(Container {
        runtime: "containerd".to_owned(),
        id: "3f00".to_owned(),
        name: "api".to_owned(),
        pod: "payments-6d8".to_owned(),
        namespace: "shop".to_owned(),
        image: "shop/payments:1".to_owned(),
    });
    Site {
        site: SITE.to_owned(),
        kind: Kind::CloseWaitEofRead,
        status: Status::Leaking,
        spinning: None,
        sockets: 412,
        lingered: 430,
        ended: Ended { closed: 18, ..Ended::default() },
        adopted: 0,
        per_minute: Some(4.1),
        last_hour: LastHour { step_seconds: 60.0, sockets: vec![0, 120, 260, 412] },
        oldest_seconds: 1833.2,
        age_is_minimum: false,
        stack_samples: 430,
        builds: vec!["gnu:4c1f".to_owned()],
        processes: vec![payments],
        opened: Some(Touch {
            call: "accept4".to_owned(),
            result: None,
            seconds_ago: None,
            whole: true,
            stack: vec![frame("accept_loop", "src/server.rs", 88), frame("main", "src/main.rs", 12)],
        }),
        touched: Some(Touch {
            call: "read".to_owned(),
            result: Some(0),
            seconds_ago: Some(1790.0),
            whole: true,
            stack: vec![frame("handle_request", "src/server.rs", 131)],
        }),
        closed_elsewhere: None,
        usual_close: Some(CommonPath {
            sockets: 9700,
            whole: true,
            stack: vec![frame("finish", "src/server.rs", 160)],
        }),
        last_sent: vec![CommonPath { sockets: 17, whole: false, stack: vec![frame("respond", "src/server.rs", 140)] }],
        examples: vec![
            example("10.0.0.4:8443", "10.0.9.1:51234", State::CloseWait, 1833.2, 211),
            example("10.0.0.4:8443", "10.0.9.2:51235", State::CloseWait, 1700.0, 212),
            example("10.0.0.4:8443", "10.0.9.3:51236", State::CloseWait, 900.0, 213),
            example("10.0.0.4:8443", "10.0.9.4:51237", State::CloseWait, 60.5, 214),
        ],
        accept_queues: vec![],
        death: Death::default(),
        why: "Peer closed; read returned 0 in handle_request (src/server.rs:131) and no close followed.".to_owned(),
        fix: "Close the connection when read returns 0.".to_owned(),
    }
}

pub fn lingering() -> Site {
    Site {
        site: OTHER_SITE.to_owned(),
        kind: Kind::FinWait2Held,
        status: Status::Lingering,
        spinning: None,
        sockets: 2,
        lingered: 0,
        ended: Ended::default(),
        adopted: 2,
        per_minute: Some(0.0),
        last_hour: LastHour { step_seconds: 60.0, sockets: vec![2, 2] },
        oldest_seconds: 18_120.0,
        age_is_minimum: true,
        stack_samples: 0,
        builds: vec![],
        processes: vec![process(900, "drain", "/usr/bin/drain", 2)],
        opened: None,
        touched: None,
        closed_elsewhere: None,
        usual_close: None,
        last_sent: vec![],
        examples: vec![],
        accept_queues: vec![],
        death: Death::default(),
        why: "The program ended its side.".to_owned(),
        fix: "Bound the drain.".to_owned(),
    }
}

pub fn aborting() -> AbortSite {
    AbortSite {
        site: "77cc88dd99ee".to_owned(),
        kind: Kind::AbortedClose,
        comm: "payments".to_owned(),
        exe: "/srv/payments".to_owned(),
        aborted: 9,
        causes: BTreeMap::from([(AbortCause::UnreadData, 8), (AbortCause::PeerReset, 1)]),
        per_minute: 1.5,
        processes: vec![AbortProcess {
            pid: 4117,
            comm: "payments".to_owned(),
            exe: "/srv/payments".to_owned(),
            started_at: "2026-11-20T09:12:44Z".to_owned(),
            aborted: 9,
            container: None,
        }],
        closed: Some(Touch {
            call: "close".to_owned(),
            result: None,
            seconds_ago: None,
            whole: true,
            stack: vec![frame("hang_up", "src/server.rs", 177)],
        }),
        why: "8 of 9 connections were closed.".to_owned(),
        fix: "Read to the end.".to_owned(),
    }
}

pub fn half_open() -> HalfOpenSite {
    HalfOpenSite {
        site: "55ee66ff77aa".to_owned(),
        kind: Kind::HalfOpen,
        comm: "payments".to_owned(),
        exe: "/srv/payments".to_owned(),
        sockets: 6,
        reasons: BTreeMap::from([(HalfOpenReason::Idle, 6)]),
        processes: vec![HalfOpenProcess {
            pid: 4117,
            comm: "payments".to_owned(),
            exe: "/srv/payments".to_owned(),
            started_at: "2026-11-20T09:12:44Z".to_owned(),
            sockets: 6,
            container: None,
        }],
        opened: Some(Touch {
            call: "connect".to_owned(),
            result: None,
            seconds_ago: None,
            whole: true,
            stack: vec![frame("dial", "src/server.rs", 40)],
        }),
        examples: vec![HalfOpenExample {
            local: "10.0.0.4:8443".to_owned(),
            remote: "10.0.9.1:51234".to_owned(),
            reason: HalfOpenReason::Idle,
            silent_seconds: 900.0,
            retransmissions: 0,
            probes: 0,
            send_queue: 0,
            holder: HolderInfo { pid: 4117, comm: "payments".to_owned(), fd: 12 },
            netns: 4_026_531_840,
        }],
        why: "6 of 6 established connections opened by connect in dial (src/server.rs:40) have been idle.".to_owned(),
        fix: "Set SO_KEEPALIVE.".to_owned(),
    }
}

/// A code path that ends TLS connections without a goodbye.
pub fn truncating() -> TlsSite {
    let outcomes = TlsOutcomes { clean: 3, truncated: 37, ..TlsOutcomes::default() };
    let closed = Touch {
        call: "close".to_owned(),
        result: None,
        seconds_ago: None,
        whole: true,
        stack: vec![frame("hang_up", "src/server.rs", 140)],
    };
    TlsSite {
        site: TLS_SITE.to_owned(),
        kind: Kind::TlsTruncated,
        comm: "payments".to_owned(),
        exe: "/srv/payments".to_owned(),
        closes: 40,
        outcomes,
        peer_first: 12,
        process_exit: 0,
        after_data: 30,
        per_minute: 7.4,
        share: 0.925,
        processes: vec![TlsProcess {
            pid: 4117,
            comm: "payments".to_owned(),
            exe: "/srv/payments".to_owned(),
            started_at: "2026-11-20T09:12:44Z".to_owned(),
            closes: 40,
            truncated: 37,
            container: None,
        }],
        why: crate::why::tls::why(&outcomes, 0, 30, Some(&closed)),
        closed: Some(closed),
        fix: "End the session.".to_owned(),
    }
}
