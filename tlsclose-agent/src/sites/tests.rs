use super::*;

const GROUP: Group = Group {
    process: ProcessKey { tgid: 42, started_at: 7 },
    kind: Kind::CloseWaitEofRead,
    opened: PathId(1),
    opened_call: 0,
    touched: PathId(2),
    touched_call: 0,
};

fn at(seconds: u64) -> Moment {
    Moment(seconds * 1_000_000_000)
}

#[test]
fn the_labels_of_a_pod_go_five_minutes_after_it() {
    let mut sites = Sites::new(Limits { sites: 10, series: 10, programs: 10 });
    let identity = Identity { namespace: "shop".to_owned(), pod: "payments-6d8".to_owned(), ..Identity::default() };
    let described = Described { identity, site: Some("9f2c41d0a7be".to_owned()), ..Described::default() };
    sites.place(GROUP, described, at(0));
    sites.forget(at(1000), |_| true);
    for (now, shown) in [(1000 + 299, 1), (1000 + 300, 0)] {
        sites.forget(at(now), |_| false);
        assert_eq!((sites.series.len(), sites.sites.len()), (shown, shown), "at {now} s");
        assert_eq!(sites.knows(&GROUP), shown == 1);
    }
}
