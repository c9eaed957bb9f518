use super::*;

const GROUP: Group = Group {
    process: ProcessId { tgid: 42, started_at: 7 },
    kind: Kind::CloseWaitEofRead,
    opened: PathId(1),
    opened_call: 0,
    touched: PathId(2),
    touched_call: 0,
    read_the_end: false,
};

fn at(seconds: u64) -> Moment {
    Moment(seconds * 1_000_000_000)
}

#[test]
fn the_labels_of_a_pod_go_five_minutes_after_it() {
    let mut sites = Sites::new(Limits { sites: 10, series: 10, programs: 10 });
    let identity = Workload { namespace: "shop".to_owned(), pod: "payments-6d8".to_owned(), ..Workload::default() };
    let described = Described { identity, site: Some("9f2c41d0a7be".to_owned()), ..Described::default() };
    sites.place(GROUP, described, at(0));
    sites.forget(at(1000), |_| true);
    for (now, shown) in [(1000 + 299, 1), (1000 + 300, 0)] {
        sites.forget(at(now), |_| false);
        assert_eq!((sites.series.len(), sites.sites.len()), (shown, shown), "at {now} s");
        assert_eq!(sites.knows(&GROUP), shown == 1);
    }
}

#[test]
fn of_workers_that_have_ended_one_is_kept_for_their_site() {
    let mut sites = Sites::new(Limits { sites: 10, series: 10, programs: 10 });
    let worker = |tgid| Group { process: ProcessId { tgid, started_at: 7 }, ..GROUP };
    let described = || Described { site: Some("9f2c41d0a7be".to_owned()), ..Described::default() };
    for tgid in 1..=100 {
        sites.place(worker(tgid), described(), at(0));
    }
    sites.forget(at(1), |process| process.tgid == 100);
    assert_eq!((sites.places.len(), sites.knows(&worker(100))), (1, true), "the living one will do");
    sites.place(worker(101), described(), at(2));
    sites.place(worker(102), Described { site: Some("another".to_owned()), ..described() }, at(2));
    sites.forget(at(3), |_| false);
    assert_eq!((sites.places.len(), sites.sites.len(), sites.series.len()), (2, 2, 2));
}

#[test]
fn groups_with_lingering_sockets_stay_whatever_became_of_their_process() {
    let mut sites = Sites::new(Limits { sites: 10, series: 10, programs: 10 });
    for tgid in 1..=3 {
        let group = Group { process: ProcessId { tgid, started_at: 7 }, ..GROUP };
        sites.place(group, Described { site: Some("9f2c41d0a7be".to_owned()), ..Described::default() }, at(0));
        sites.lingering.insert(group, (1, 0));
    }
    sites.forget(at(1), |_| false);
    assert_eq!(sites.places.len(), 3);
}

/// They may have come by any way.
#[test]
fn sockets_without_a_site_show_only_what_is_the_same_for_all_of_them() {
    let touch = |call: &str| {
        let whole = false;
        Some(Touch { call: call.to_owned(), result: None, seconds_ago: None, whole, stack: Vec::new() })
    };
    for (site, placed, shown) in [
        (None, &[Some("read")][..], Some("read")),
        (None, &[Some("read"), Some("read")], Some("read")),
        (None, &[Some("read"), Some("recv")], None),
        (None, &[Some("read"), Some("recv"), Some("recv")], None),
        (None, &[Some("read"), None], None),
        (None, &[None, Some("read")], None),
        (Some("9f2c41d0a7be"), &[None, Some("read")], Some("read")),
    ] {
        let mut sites = Sites::new(Limits { sites: 10, series: 10, programs: 10 });
        for call in placed {
            let (opened, touched) = (call.and_then(touch), call.and_then(touch));
            let site = site.map(str::to_owned);
            sites.place(GROUP, Described { site, opened, touched, ..Described::default() }, at(0));
        }
        let record = sites.sites.values().next().expect("a site");
        let calls = [&record.opened, &record.touched].map(|path| path.as_ref().map(|path| path.call.as_str()));
        assert_eq!(calls, [shown, shown], "{placed:?}");
    }
}

/// A Python program at its limit was "lingering", because an idle pool of another one held more sockets.
#[test]
fn any_process_without_descriptors_makes_a_site_leak() {
    let [idle, full] = [(1, 300), (2, 65)]
        .map(|(tgid, sockets)| (ProcessId { tgid, started_at: 7 }, Tally { lingering: sockets, ..Tally::default() }));
    let processes = BTreeMap::from([idle, full]);
    let found = fullest(&processes, |process| if process.tgid == 1 { (310, 1024) } else { (64, 64) });
    assert!(found.are_running_out() && found.sockets == 65, "{found:?}");
    let neither = fullest(&processes, |_| (400, 4096));
    assert!(!neither.are_running_out() && neither.sockets == 300, "{neither:?}");
}

/// The first stacks of a new program are lost while its functions are learned: 9 of 20 connections had their line, and
/// 11 stayed `unsampled` beside them for good.
#[test]
fn sockets_whose_stack_was_lost_join_their_site_when_it_is_known() {
    let mut sites = Sites::new(Limits { sites: 10, series: 10, programs: 10 });
    let lost = Group { opened: PathId::NONE, ..GROUP };
    let named = || Described { site: Some("9f2c41d0a7be".to_owned()), ..Described::default() };
    let began = |group, adopted| Change::Began { group, adopted };
    sites.place(lost, Described::default(), at(0));
    sites.book(&[began(lost, false), began(lost, false), began(lost, true)]);
    sites.lingering.insert(lost, (3, 1));
    assert_eq!(sites.site_of(&lost), Some(UNSAMPLED));
    sites.place(Group { process: ProcessId { tgid: 43, started_at: 7 }, ..GROUP }, named(), at(1));
    assert_eq!(sites.site_of(&lost), Some(UNSAMPLED), "that is another process");
    sites.place(GROUP, named(), at(2));
    assert_eq!(sites.site_of(&lost), Some("9f2c41d0a7be"));
    let of = |label: &str| {
        let (_, site) = sites.sites.iter().find(|(key, _)| key.site == label).unwrap();
        let (_, series) = sites.series.iter().find(|((.., site), _)| site == label).unwrap();
        assert_eq!(site.account, series.account);
        (site.account.lingered, site.account.ended.reclassified, site.account.adopted, site.base_line)
    };
    assert_eq!(of(UNSAMPLED), (2, 2, 0, -2), "what lingered has ended here, and is no loss that a rate shows");
    assert_eq!(of("9f2c41d0a7be"), (2, 0, 1, 3), "and lingers there, and is no growth");
    sites.place(Group { opened: PathId(9), ..GROUP }, Described { site: Some("another".into()), ..named() }, at(3));
    assert_eq!(sites.site_of(&lost), Some("9f2c41d0a7be"), "it moves once");
}

#[test]
fn of_two_sites_none_is_guessed() {
    let mut sites = Sites::new(Limits { sites: 10, series: 10, programs: 10 });
    let lost = Group { opened: PathId::NONE, touched: PathId::NONE, ..GROUP };
    for (opened, site) in [(1, "one"), (2, "another")] {
        let described = Described { site: Some(site.to_owned()), ..Described::default() };
        sites.place(Group { opened: PathId(opened), ..GROUP }, described, at(0));
    }
    sites.place(lost, Described::default(), at(1));
    sites.place(
        Group { opened: PathId(3), ..GROUP },
        Described { site: Some("one".into()), ..Described::default() },
        at(2),
    );
    assert_eq!(sites.site_of(&lost), Some(UNSAMPLED));
}
