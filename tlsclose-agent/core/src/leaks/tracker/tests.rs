use tlsclose_common::facts::{HalfClosed, call, half, holder, state};

use super::*;

mod histories;

const AFTER: Duration = Duration::from_secs(60);
const SECOND: u64 = 1_000_000_000;

fn record(sk: u64, state: u8) -> Holder {
    Holder {
        sk,
        tgid: 7,
        fd: sk as u32,
        started_at: 1,
        state,
        remote_port: 443,
        copied_seq: 10,
        rcv_nxt: 10,
        flags: holder::HALF,
        half: HalfClosed { since: 1, ..HalfClosed::NEW },
        ..Holder::default()
    }
}

fn at(second: u64) -> Moment {
    Moment(second * SECOND + 1)
}

/// One census with these records.
fn census(tracker: &mut Tracker, second: u64, records: &[Holder]) -> Vec<Change> {
    tracker.begin(at(second));
    for record in records {
        tracker.observe(record, Ticks::default(), |key| Some(PathId(key as u32)));
    }
    tracker.finish(|_| true, |_| AFTER)
}

/// A tracker that has done its first, empty census: what comes now is not adopted.
fn running() -> Tracker {
    let mut tracker = Tracker::default();
    census(&mut tracker, 0, &[]);
    tracker
}

fn kinds(changes: &[Change]) -> Vec<&'static str> {
    let text = |change: &Change| match change {
        Change::Began { adopted: false, .. } => "began",
        Change::Began { adopted: true, .. } => "began, adopted",
        Change::Ended { how: End::Closed, .. } => "closed",
        Change::Ended { how: End::Touched, .. } => "touched",
        Change::Ended { how: End::Reclassified, .. } => "reclassified",
        Change::Ended { how: End::ProcessExit, .. } => "process_exit",
    };
    changes.iter().map(text).collect()
}

#[test]
fn records_are_classified_by_what_the_kernel_shows() {
    let unread = Holder { rcv_nxt: 11, ..record(1, state::CLOSE_WAIT) };
    let failed =
        Holder { half: HalfClosed { flags: half::CONNECT_FAILED, ..HalfClosed::NEW }, ..record(1, state::CLOSE) };
    let fresh = Holder { remote_port: 0, ..record(1, state::CLOSE) };
    for (record, kind) in [
        (record(1, state::CLOSE_WAIT), Some(Kind::CloseWaitEofRead)),
        (unread, Some(Kind::CloseWaitUnread)),
        (record(1, state::FIN_WAIT2), Some(Kind::FinWait2Held)),
        (record(1, state::CLOSE), Some(Kind::ResetHeld)),
        (failed, Some(Kind::ConnectFailedHeld)),
        (fresh, None),
        (record(1, state::ESTABLISHED), None),
        (record(1, state::LISTEN), None),
    ] {
        assert_eq!(classify(&record), kind, "{record:?}");
    }
}

#[test]
fn what_close_and_accept_say_decides_the_kind() {
    let of = |flags, copied_seq, state| classify(&Holder { flags, copied_seq, ..record(1, state) });
    for (flags, copied_seq, state, kind) in [
        (holder::QUEUED, 5, state::CLOSE_WAIT, Kind::CloseWaitNotAccepted),
        (holder::CLOSED | holder::CLOSED_LAST, 10, state::CLOSE_WAIT, Kind::CloseWaitSharedFd),
        (holder::CLOSED | holder::CLOSED_LAST, 5, state::CLOSE_WAIT, Kind::CloseWaitSharedFd),
        (holder::CLOSED, 10, state::CLOSE_WAIT, Kind::CloseWaitEofRead),
        (holder::CLOSED | holder::CLOSED_LAST, 10, state::FIN_WAIT2, Kind::FinWait2Held),
        (holder::CLOSED | holder::CLOSED_LAST, 10, state::CLOSE, Kind::ResetHeld),
        (holder::UNHELD, 5, state::CLOSE_WAIT, Kind::CloseWaitUnread),
    ] {
        assert_eq!(of(flags, copied_seq, state), Some(kind), "{flags} {copied_seq} {state}");
    }
}

#[test]
fn a_connection_that_is_accepted_after_all_is_judged_anew() {
    let mut tracker = running();
    let queued = Holder { flags: holder::QUEUED | holder::HALF, ..record(1, state::CLOSE_WAIT) };
    census(&mut tracker, 5, &[queued]);
    assert_eq!(kinds(&census(&mut tracker, 61, &[queued])), ["began"]);
    let accepted = record(1, state::CLOSE_WAIT);
    assert_eq!(kinds(&census(&mut tracker, 66, &[accepted])), ["touched"]);
    assert!(census(&mut tracker, 120, &[accepted]).is_empty());
    assert_eq!(kinds(&census(&mut tracker, 126, &[accepted])), ["began"]);
    assert_eq!(tracker.sockets().next().unwrap().group.kind, Kind::CloseWaitEofRead);
}

#[test]
fn a_socket_lingers_after_leak_after_and_once() {
    let mut tracker = running();
    let socket = [record(1, state::CLOSE_WAIT)];
    assert!(census(&mut tracker, 30, &socket).is_empty());
    assert!(census(&mut tracker, 59, &socket).is_empty());
    assert_eq!(kinds(&census(&mut tracker, 60, &socket)), ["began"]);
    assert!(census(&mut tracker, 65, &socket).is_empty());
}

#[test]
fn moving_sequence_numbers_start_the_clock_again() {
    let mut tracker = running();
    let sent = |bytes| Holder { write_seq: bytes, ..record(1, state::CLOSE_WAIT) };
    for second in (0..600).step_by(50) {
        assert!(census(&mut tracker, second, &[sent(second as u32)]).is_empty(), "it drains a response");
    }
    assert_eq!(kinds(&census(&mut tracker, 610, &[sent(550)])), ["began"]);
    assert_eq!(kinds(&census(&mut tracker, 615, &[sent(551)])), ["touched"]);
    assert_eq!(kinds(&census(&mut tracker, 675, &[sent(551)])), ["began"]);
}

#[test]
fn absence_from_one_census_is_no_end() {
    let mut tracker = running();
    let socket = [record(1, state::CLOSE_WAIT)];
    census(&mut tracker, 5, &socket);
    census(&mut tracker, 61, &socket);
    assert!(census(&mut tracker, 66, &[]).is_empty());
    assert!(census(&mut tracker, 71, &socket).is_empty(), "walked past once");
    assert!(census(&mut tracker, 76, &[]).is_empty());
    assert_eq!(kinds(&census(&mut tracker, 81, &[])), ["closed"]);
}

#[test]
fn the_end_of_a_dead_process_is_its_exit() {
    let mut tracker = running();
    for second in [60, 61] {
        census(&mut tracker, second, &[record(1, state::CLOSE_WAIT)]);
    }
    census(&mut tracker, 66, &[]);
    tracker.begin(at(71));
    assert_eq!(kinds(&tracker.finish(|_| false, |_| AFTER)), ["process_exit"]);
}

#[test]
fn what_was_there_at_the_first_census_is_adopted() {
    let mut tracker = Tracker::default();
    let socket = [record(1, state::CLOSE_WAIT)];
    assert!(census(&mut tracker, 100, &socket).is_empty(), "it may be inside its last close()");
    assert_eq!(kinds(&census(&mut tracker, 105, &socket)), ["began, adopted"]);
}

#[test]
fn the_age_of_older_sockets_is_how_long_nothing_moved() {
    let ticks = Ticks { jiffies: 100_000, per_second: 250 };
    let older = Holder {
        flags: 0,
        half: HalfClosed::NEW,
        lsndtime: 100_000 - 250 * 90,
        rcv_tstamp: 100_000 - 250 * 70,
        ..record(1, state::CLOSE_WAIT)
    };
    assert_eq!(clock_of(&older, at(100), ticks, true), (at(30), true));
    assert_eq!(clock_of(&older, at(100), Ticks::default(), true), (at(100), true), "unknown is not old");
    assert_eq!(clock_of(&older, at(100), ticks, false), (at(100), true), "new to a running agent is not old");
    let young = Holder { lsndtime: 100_005, rcv_tstamp: 99_990, ..older };
    assert_eq!(clock_of(&young, at(100), ticks, true), (at(100), true), "the clock was read before");
    let silent = Holder { lsndtime: 0, rcv_tstamp: 0, ..older };
    assert_eq!(clock_of(&silent, at(100), ticks, true), (at(100), true), "never set is not old");
    assert_eq!(clock_of(&record(1, state::CLOSE_WAIT), at(100), ticks, true), (Moment(1), false));
}

#[test]
fn a_reset_moves_a_lingering_socket_to_another_kind_without_a_new_start() {
    let mut tracker = running();
    census(&mut tracker, 5, &[record(1, state::CLOSE_WAIT)]);
    census(&mut tracker, 61, &[record(1, state::CLOSE_WAIT)]);
    assert_eq!(kinds(&census(&mut tracker, 66, &[record(1, state::CLOSE)])), ["reclassified", "began"]);
}

#[test]
fn another_socket_at_the_same_address_is_another_socket() {
    let first = record(1, state::CLOSE_WAIT);
    let half = HalfClosed { since: 66 * SECOND, ..HalfClosed::NEW };
    let second = Holder { local_port: 9, tgid: 8, half, ..first };
    for (alive, how) in [(true, "closed"), (false, "process_exit")] {
        let mut tracker = running();
        census(&mut tracker, 5, &[first]);
        assert_eq!(kinds(&census(&mut tracker, 61, &[first])), ["began"]);
        assert!(census(&mut tracker, 66, &[second]).is_empty());
        assert_eq!(tracker.sockets().count(), 2, "until the first is judged, the accounts balance");
        tracker.begin(at(71));
        tracker.observe(&second, Ticks::default(), |_| None);
        assert_eq!(kinds(&tracker.finish(|_| alive, |_| AFTER)), [how]);
        assert_eq!(tracker.sockets().map(|socket| socket.clock).collect::<Vec<_>>(), [Moment(66 * SECOND)]);
    }
}

#[test]
fn a_shared_socket_is_one_socket_with_its_opener_first() {
    let mut tracker = running();
    let mut child = record(1, state::CLOSE_WAIT);
    child.tgid = 8;
    let mut parent = record(1, state::CLOSE_WAIT);
    parent.tgid = 9;
    for holder in [&mut child, &mut parent] {
        holder.origin.tgid = 9;
    }
    for second in [5, 61] {
        census(&mut tracker, second, &[child, parent]);
    }
    let socket = tracker.sockets().next().unwrap();
    assert_eq!((socket.first_holder.process.tgid, socket.other_holders[0].process.tgid), (9, 8));
    assert_eq!(tracker.sockets().count(), 1);
}

#[test]
fn stacks_that_arrive_late_are_asked_for_again() {
    let mut tracker = running();
    let mut socket = record(1, state::CLOSE_WAIT);
    socket.origin.opened = 5;
    tracker.begin(at(1));
    tracker.observe(&socket, Ticks::default(), |_| None);
    tracker.finish(|_| true, |_| AFTER);
    assert_eq!(tracker.sockets().next().unwrap().group.opened, PathId::NONE);
    census(&mut tracker, 2, &[socket]);
    assert_eq!(tracker.sockets().next().unwrap().group.opened, PathId(5));
}

#[test]
fn a_lingering_socket_whose_stacks_come_later_moves_to_them_once() {
    let mut socket = record(1, state::CLOSE_WAIT);
    (socket.origin.opened, socket.half.touched, socket.half.touched_call) = (5, 6, call::READ);
    let mut tracker = running();
    let mut look = |second: u64, known: &[u64]| {
        tracker.begin(at(second));
        tracker.observe(&socket, Ticks::default(), |key| known.contains(&key).then_some(PathId(key as u32)));
        let changes = kinds(&tracker.finish(|_| true, |_| AFTER));
        let group = tracker.sockets().next().unwrap().group;
        (changes, group.opened, group.touched)
    };
    assert_eq!(look(5, &[]), (vec![], PathId::NONE, PathId::NONE));
    assert_eq!(look(61, &[]), (vec!["began"], PathId::NONE, PathId::NONE));
    assert_eq!(look(66, &[]), (vec![], PathId::NONE, PathId::NONE));
    assert_eq!(look(71, &[5]), (vec!["reclassified", "began"], PathId(5), PathId::NONE));
    assert_eq!(look(76, &[5, 6]), (vec!["reclassified", "began"], PathId(5), PathId(6)));
    assert_eq!(look(81, &[5, 6]), (vec![], PathId(5), PathId(6)));
    // What it is known as stays, also when that is forgotten.
    assert_eq!(look(86, &[]), (vec![], PathId(5), PathId(6)));
}

#[test]
fn only_what_has_changed_is_worked_out_again() {
    let mut tracker = running();
    let mut records: Vec<Holder> = (1..=100).map(|sk| record(sk, state::CLOSE_WAIT)).collect();
    let mut worked_out = |second: u64, records: &[Holder]| -> Vec<u64> {
        let before: Vec<u32> = tracker.sockets().map(|socket| socket.sightings).collect();
        census(&mut tracker, second, records);
        let both = tracker.sockets().zip(before);
        both.filter(|(socket, before)| socket.sightings > *before).map(|(socket, _)| socket.last.sk).collect()
    };
    let [_, twice, ..] = [1, 2, 3, 4].map(|second| worked_out(second, &records).len());
    assert_eq!(twice, 100, "until all is settled");
    assert!(worked_out(5, &records).is_empty());
    records[40].write_seq += 1;
    records[60].half.touched = 6;
    assert_eq!(worked_out(6, &records), [41, 61]);
}

#[test]
fn a_socket_that_outlives_its_process_is_counted_for_who_still_holds_it() {
    let mut tracker = running();
    let by = |tgid: u32, fd: u32| Holder { tgid, fd, started_at: u64::from(tgid), ..record(1, state::CLOSE_WAIT) };
    let parent_and_child = [by(7, 3), by(8, 3)];
    census(&mut tracker, 5, &parent_and_child);
    assert_eq!(kinds(&census(&mut tracker, 61, &parent_and_child)), ["began"]);
    assert!(census(&mut tracker, 66, &[by(8, 3), by(7, 3)]).is_empty(), "whatever is shown first");
    let changes = census(&mut tracker, 71, &[by(8, 3)]);
    assert_eq!(kinds(&changes), ["reclassified", "began"]);
    let tgids = changes.iter().map(|change| match change {
        Change::Began { group, .. } | Change::Ended { group, .. } => group.process.tgid,
    });
    assert_eq!(tgids.collect::<Vec<_>>(), [7, 8]);
    assert!(census(&mut tracker, 76, &[by(8, 3)]).is_empty(), "once");
    census(&mut tracker, 81, &[]);
    tracker.begin(at(86));
    assert_eq!(kinds(&tracker.finish(|process| process.tgid == 7, |_| AFTER)), ["process_exit"]);
}

#[test]
fn of_many_holders_the_opener_comes_first_and_nobody_twice() {
    let mut tracker = running();
    let by = |tgid: u32| {
        let mut holder = Holder { tgid, started_at: u64::from(tgid), ..record(1, state::CLOSE_WAIT) };
        holder.origin.tgid = 100;
        holder
    };
    let all: Vec<Holder> = (70..=100).chain([100, 71]).map(by).collect();
    census(&mut tracker, 5, &all);
    let socket = tracker.sockets().next().unwrap();
    let others: Vec<u32> = socket.other_holders.iter().map(|held| held.process.tgid).collect();
    assert_eq!((socket.first_holder.process.tgid, others), (100, (71..87).collect()));
}
