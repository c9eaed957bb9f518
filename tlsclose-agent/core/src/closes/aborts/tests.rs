use super::*;

fn who(comm: &str) -> Workload {
    Workload { comm: comm.to_owned(), ..Workload::default() }
}

fn aborted(comm: &str, cause: AbortCause, count: u64) -> Aborted {
    let process = ProcessId { tgid: 7, started_at: 1 };
    Aborted { process, identity: who(comm), exe: format!("/bin/{comm}"), cause, count }
}

fn closed() -> Touch {
    Touch { call: "close".to_owned(), result: None, seconds_ago: None, whole: true, stack: vec![] }
}

fn at(seconds: u64) -> Moment {
    Moment(seconds * 1_000_000_000)
}

fn accounts(series: usize) -> AbortAccounts {
    AbortAccounts::new(Limits { sites: 3, series, programs: 0 })
}

fn count(accounts: &AbortAccounts, site: &str) -> u64 {
    accounts.sites.iter().filter(|(key, _)| key.site == site).map(|(_, record)| record.total()).sum()
}

#[test]
fn all_causes_of_a_program_are_there_once_one_of_them_is() {
    let mut accounts = accounts(100);
    accounts.book(&aborted("a", AbortCause::PeerReset, 3), at(1));
    let series = accounts.exported();
    assert_eq!(series.len(), AbortCause::all().len());
    for one in series {
        assert_eq!(one.total, if one.cause == AbortCause::PeerReset { 3 } else { 0 }, "{one:?}");
    }
}

#[test]
fn sites_add_up_to_the_series_whatever_was_sampled() {
    let mut accounts = accounts(100);
    accounts.book(&aborted("a", AbortCause::UnreadData, 5), at(1));
    assert_eq!(accounts.sampled(&aborted("a", AbortCause::UnreadData, 2), "s", &closed(), at(1)), 0);
    assert_eq!((count(&accounts, UNSAMPLED), count(&accounts, "s")), (3, 2));
    // A sample of one that was not booked yet waits.
    assert_eq!(accounts.sampled(&aborted("a", AbortCause::UnreadData, 4), "s", &closed(), at(1)), 1);
    assert_eq!(accounts.sampled(&aborted("a", AbortCause::LingerZero, 1), "s", &closed(), at(1)), 1);
    assert_eq!((count(&accounts, UNSAMPLED), count(&accounts, "s")), (0, 5));
    assert!(accounts.sites.values().any(|record| record.closed.is_some()));
}

#[test]
fn what_does_not_fit_is_kept_as_other() {
    let mut accounts = accounts(2 * AbortCause::all().len());
    for comm in ["a", "b", "c", "d", "e"] {
        accounts.book(&aborted(comm, AbortCause::PeerReset, 1), at(1));
    }
    let of = |comm: &str| -> u64 {
        accounts.exported().iter().filter(|one| one.identity.comm == comm).map(|one| one.total).sum()
    };
    assert_eq!((of("a"), of("b"), of("c"), of(OTHER)), (1, 1, 0, 3));
    assert_eq!(count(&accounts, OTHER), 2);
}

#[test]
fn the_rate_is_that_of_the_last_minutes() {
    let mut accounts = accounts(100);
    accounts.begin(at(0));
    accounts.book(&aborted("a", AbortCause::PeerReset, 10), at(60));
    let rate =
        |accounts: &AbortAccounts, now| accounts.per_minute(accounts.sites.values().next().expect("a site"), at(now));
    assert_eq!(rate(&accounts, 60), 10.0);
    assert_eq!(rate(&accounts, 300), 2.0);
    assert_eq!(rate(&accounts, 1000), 0.0);
}

#[test]
fn the_labels_of_a_program_go_five_minutes_after_it_and_nobody_stays() {
    let mut accounts = accounts(100);
    accounts.book(&aborted("a", AbortCause::PeerReset, 10), at(60));
    let nobody = ProcessId { tgid: 0, started_at: 0 };
    accounts.book(&Aborted { process: nobody, ..aborted("", AbortCause::DataAfterClose, 1) }, at(60));
    accounts.mark_alive(&who("a"), at(100));
    accounts.mark_alive(&who(""), at(399));
    let shown = |accounts: &AbortAccounts| -> Vec<String> {
        let totals = accounts.exported().into_iter().filter(|one| one.total > 0);
        totals.map(|one| one.identity.comm).collect()
    };
    // Dead processes are no longer shown, and stay counted.
    accounts.forget(at(100), |_| false);
    let total = |accounts: &AbortAccounts| accounts.sites.values().map(AbortRecord::total).sum::<u64>();
    assert!(accounts.sites.values().all(|record| record.processes.is_empty()));
    assert_eq!(total(&accounts), 11);
    accounts.forget(at(359), |_| false);
    assert_eq!((shown(&accounts), total(&accounts)), (vec![String::new(), "a".to_owned()], 11));
    accounts.forget(at(400), |_| false);
    assert_eq!((shown(&accounts), total(&accounts)), (vec![String::new()], 1));
}

#[test]
fn what_began_among_the_others_stays_there() {
    let mut accounts = accounts(AbortCause::all().len());
    for comm in ["a", "b"] {
        accounts.book(&aborted(comm, AbortCause::PeerReset, 1), at(0));
    }
    accounts.mark_alive(&who("b"), at(299));
    accounts.forget(at(300), |_| false);
    accounts.book(&aborted("b", AbortCause::PeerReset, 1), at(301));
    accounts.book(&aborted("c", AbortCause::PeerReset, 1), at(301));
    let series = accounts.exported();
    let of = |comm: &str| series.iter().filter(|one| one.identity.comm == comm).map(|one| one.total).sum::<u64>();
    assert_eq!((of("a"), of("b"), of("c"), of(OTHER)), (0, 0, 1, 2));
}
