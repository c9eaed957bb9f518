use tlsclose_common::facts::{HalfClosed, holder, state};

use super::*;
use crate::{
    leaks::tracker::Tracker,
    model::{Moment, ProcessId, Ticks},
};

const FIRST: u64 = 1_000_000_000_000;

fn second(n: u64) -> Moment {
    Moment(FIRST + n * 1_000_000_000)
}

/// A socket in CLOSE_WAIT; its end is unread if `unread`.
fn record(sk: u64, fd: u32, eof_reads: u32, unread: bool) -> Holder {
    Holder {
        sk,
        fd,
        tgid: 7,
        started_at: 70,
        state: state::CLOSE_WAIT,
        remote_port: 99,
        flags: holder::HALF,
        rcv_nxt: u32::from(unread),
        half: HalfClosed { since: FIRST, eof_reads, ..HalfClosed::NEW },
        ..Holder::default()
    }
}

/// What a tracker makes of it that has seen it twice: a socket that lingers.
fn lingering(record: &Holder) -> Socket {
    let mut tracker = Tracker::default();
    for n in [100, 200] {
        tracker.begin(second(n));
        tracker.observe(record, Ticks::default(), |_| None);
        tracker.finish(|_| true, |_| Duration::from_secs(60));
    }
    let socket = tracker.sockets().next().expect("a socket").clone();
    assert!(socket.lingering_since.is_some());
    socket
}

const PROCESS: ProcessId = ProcessId { tgid: 7, started_at: 70 };
const THREAD: Thread = Thread { process: PROCESS, tid: 8 };

#[test]
fn a_stream_that_is_read_many_times_a_second_spins_and_one_read_now_and_then_does_not() {
    for (first, then, spins) in [(64, 164, true), (64, 163, false), (64, 64, false), (u32::MAX - 9, 1000, true)] {
        let mut all = Spins::default();
        for (n, reads) in [(0, first), (1, then)] {
            all.begin(second(n));
            all.observe(&record(1, 5, reads, false));
            all.observe(&record(1, 6, reads, false));
        }
        let found = all.around(&lingering(&record(1, 5, then, false)));
        assert_eq!(found.is_some(), spins, "{first} {then}: {found:?}");
        assert_eq!(all.is_quiet(), !spins);
        assert_eq!(all.around(&lingering(&record(2, 5, then, false))), None, "another socket");
        let reused = Holder { remote_port: 98, ..record(1, 5, then, false) };
        assert_eq!(all.around(&lingering(&reused)), None, "another at the same address");
    }
}

#[test]
fn a_stream_that_a_census_does_not_show_any_more_is_forgotten() {
    let mut all = Spins::default();
    for (n, reads) in [(0, 1000), (1, 2000)] {
        all.begin(second(n));
        all.observe(&record(1, 5, reads, false));
    }
    all.begin(second(2));
    assert!(!all.is_quiet(), "one census may walk past it");
    all.begin(second(3));
    assert!(all.is_quiet());
}

/// Two looks at a thread that wanted so much of the second between.
fn measured(milliseconds: u64) -> Spins {
    let mut all = Spins::default();
    for (n, wanted) in [(0, 5000), (1, 5000 + milliseconds)] {
        all.begin(second(n));
        all.wanted(THREAD, Duration::from_millis(wanted));
    }
    all
}

#[test]
fn a_thread_is_suspect_once_when_it_wants_half_a_core() {
    assert_eq!(measured(499).suspects(), []);
    let mut busy = measured(500);
    assert_eq!(busy.suspects(), [THREAD]);
    busy.judge(THREAD, &Suspect::default(), Duration::from_millis(100), BTreeSet::new());
    assert_eq!(busy.suspects(), []);
    for n in 2..=31 {
        busy.begin(second(n));
        busy.wanted(THREAD, Duration::from_secs(5 + n));
        assert_eq!(busy.suspects().len(), usize::from(n == 31), "{n}");
    }
}

#[test]
fn a_thread_that_only_polls_spins_around_the_unread_ends_that_it_watches() {
    let seen = |polls, others| Suspect { polls, others, stack: 3, epoll: 4, pad: 0 };
    let took = Duration::from_millis(100);
    for (polls, others, spins) in [(5000, 0, true), (5000, 50, true), (5000, 51, false), (99, 0, false)] {
        let mut all = measured(900);
        all.judge(THREAD, &seen(polls, others), took, BTreeSet::from([5]));
        let found = all.around(&lingering(&record(1, 5, 0, true)));
        let per_second = polls as f64 * 10.0;
        assert_eq!(found, spins.then_some(Spin::Polls { thread: THREAD, per_second, stack: 3 }), "{polls} {others}");
        assert_eq!(all.around(&lingering(&record(1, 6, 0, true))), None, "not watched");
        assert_eq!(all.around(&lingering(&record(1, 5, 0, false))), None, "read to its end");
        let elsewhere = Holder { tgid: 9, ..record(1, 5, 0, true) };
        assert_eq!(all.around(&lingering(&elsewhere)), None, "another process");
        all.begin(second(2));
        all.wanted(THREAD, Duration::from_millis(5900 + 300));
        assert_eq!(all.is_quiet(), !spins, "it gets less, and goes on");
        all.begin(second(3));
        all.wanted(THREAD, Duration::from_millis(6200 + 200));
        assert!(all.is_quiet(), "it burns no core any more");
    }
}

#[test]
fn what_is_kept_is_bounded_and_the_rest_is_counted() {
    let mut all = Spins::default();
    all.begin(second(0));
    (0..KEPT as u64 + 3).for_each(|sk| all.observe(&record(sk, 5, 64, false)));
    (0..KEPT as u32 + 2).for_each(|tid| all.wanted(Thread { process: PROCESS, tid }, Duration::from_secs(1)));
    assert_eq!(all.unkept, 5);
}
