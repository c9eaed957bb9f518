use tlsclose_common::tls::mark;

use super::*;

const OPEN: u32 = mark::ESTABLISHED as u32;
const BYE: u32 = (mark::ESTABLISHED | mark::GOODBYE) as u32;
/// We hung up without a word.
const TRUNCATED: u32 = OPEN | OPEN << 8;
/// We said goodbye and hung up.
const CLEAN: u32 = BYE | OPEN << 8;

fn close(comm: &str, tgid: u32, facts: u32, count: u64) -> Close {
    Close {
        process: ProcessId { tgid, started_at: 1 },
        identity: Workload { comm: comm.to_owned(), ..Workload::default() },
        exe: format!("/srv/{comm}"),
        facts,
        count,
    }
}

fn sampled(close: Close, site: &str) -> Sampled {
    let closed = Touch { call: "close".to_owned(), result: None, seconds_ago: None, whole: true, stack: vec![] };
    Sampled { close, site: site.to_owned(), closed }
}

fn at(seconds: u64) -> Moment {
    Moment(seconds * 1_000_000_000)
}

fn accounts(sites: usize, programs: usize) -> TlsAccounts {
    let mut accounts = TlsAccounts::new(Limits { sites, programs, series: 0 });
    accounts.begin(at(0));
    accounts
}

fn record<'a>(accounts: &'a TlsAccounts, comm: &str, site: &str) -> &'a TlsRecord {
    &accounts.sites[&TlsSiteKey { comm: comm.to_owned(), site: site.to_owned() }]
}

#[test]
fn sites_add_up_to_all_closes() {
    let mut accounts = accounts(100, 100);
    accounts.book(&close("api", 7, TRUNCATED, 10), at(1));
    accounts.book(&close("api", 7, CLEAN, 5), at(1));
    assert_eq!(accounts.sampled(&sampled(close("api", 7, TRUNCATED, 8), "a"), at(1)), 0);
    assert_eq!(accounts.sampled(&sampled(close("api", 7, CLEAN, 1), "b"), at(1)), 0);
    let all = |accounts: &TlsAccounts| -> u64 { accounts.sites.values().map(|record| record.outcomes.total()).sum() };
    assert_eq!(all(&accounts), 15);
    assert_eq!(record(&accounts, "api", "a").outcomes.truncated, 8);
    assert_eq!(
        record(&accounts, "api", UNSAMPLED).outcomes,
        TlsOutcomes { truncated: 2, clean: 4, ..Default::default() }
    );
    assert_eq!(record(&accounts, "api", UNSAMPLED).processes[&close("", 7, 0, 0).process], (6, 2));
    // Three more stacks than closes: two have been counted, one has not yet.
    assert_eq!(accounts.sampled(&sampled(close("api", 7, TRUNCATED, 3), "a"), at(1)), 1);
    assert_eq!(all(&accounts), 15);
    assert_eq!(record(&accounts, "api", "a").outcomes.truncated, 10);
}

#[test]
fn truncating_after_data_is_counted_for_program_and_site() {
    let mut accounts = accounts(100, 100);
    let facts = TRUNCATED | tls_close::SENT_LAST;
    accounts.book(&close("api", 7, facts, 10), at(1));
    accounts.book(&close("api", 7, TRUNCATED, 4), at(1));
    // It sent data last, and said goodbye.
    accounts.book(&close("api", 7, CLEAN | tls_close::SENT_LAST, 5), at(1));
    assert_eq!(accounts.exported()[0].after_data, 10);
    accounts.sampled(&sampled(close("api", 7, facts, 8), "a"), at(1));
    accounts.sampled(&sampled(close("api", 7, TRUNCATED, 1), "a"), at(1));
    assert_eq!(record(&accounts, "api", "a").after_data, 8);
    assert_eq!(record(&accounts, "api", UNSAMPLED).after_data, 2);
    assert_eq!(accounts.exported()[0].after_data, 10);
}

#[test]
fn truncating_after_the_peer_has_hung_up_is_counted_for_the_site() {
    let mut accounts = accounts(100, 100);
    let facts = TRUNCATED | tls_close::PEER_FIN | tls_close::PEER_FIRST;
    accounts.book(&close("api", 7, facts, 10), at(1));
    // We had shut down first.
    accounts.book(&close("api", 7, TRUNCATED | tls_close::PEER_FIN, 4), at(1));
    accounts.book(&close("api", 7, CLEAN | tls_close::PEER_FIRST, 5), at(1));
    accounts.sampled(&sampled(close("api", 7, facts, 8), "a"), at(1));
    accounts.sampled(&sampled(close("api", 7, TRUNCATED | tls_close::PEER_FIN, 1), "a"), at(1));
    assert_eq!(record(&accounts, "api", "a").peer_first, 8);
    assert_eq!(record(&accounts, "api", UNSAMPLED).peer_first, 2);
}

#[test]
fn a_program_has_its_closes_for_both_sides() {
    let mut accounts = accounts(100, 100);
    accounts.book(&close("api", 7, CLEAN, 5), at(1));
    accounts.book(&close("api", 8, TRUNCATED, 2), at(1));
    let exported = accounts.exported();
    assert_eq!(exported.len(), 1);
    assert_eq!(exported[0].local, TlsOutcomes { clean: 5, truncated: 2, ..TlsOutcomes::default() });
    assert_eq!(exported[0].remote, TlsOutcomes { unknown: 7, ..TlsOutcomes::default() });
}

#[test]
fn what_had_no_session_is_not_counted() {
    let mut accounts = accounts(100, 100);
    accounts.book(&close("api", 7, OPEN, 5), at(1));
    assert!(accounts.exported().is_empty() && accounts.sites.is_empty());
}

#[test]
fn a_rate_is_that_of_the_last_five_minutes() {
    let mut accounts = accounts(100, 100);
    for second in 0..=300 {
        accounts.book(&close("api", 7, TRUNCATED, 2), at(second));
    }
    let rate = |accounts: &TlsAccounts, now| accounts.per_minute(record(accounts, "api", UNSAMPLED), now).round();
    assert_eq!(rate(&accounts, at(300)), 120.0);
    assert_eq!(rate(&accounts, at(900)), 0.0);
    // Moving them to a site takes their rate along.
    accounts.book(&close("api", 7, TRUNCATED, 50), at(900));
    accounts.sampled(&sampled(close("api", 7, TRUNCATED, 50), "a"), at(900));
    assert_eq!(rate(&accounts, at(900)), 0.0);
    assert_eq!(accounts.per_minute(record(&accounts, "api", "a"), at(900)), 10.0);
}

#[test]
fn labels_and_sites_are_bounded() {
    let mut accounts = accounts(3, 2);
    for program in 0..50 {
        let comm = format!("p{program}");
        accounts.book(&close(&comm, program, TRUNCATED, 1), at(1));
    }
    let exported = accounts.exported();
    let others = exported.iter().filter(|it| it.identity.comm == OTHER);
    let other: u64 = others.map(|it| it.local.total() + it.remote.total()).sum();
    assert_eq!(other, 2 * 48, "two programs have series of their own");
    assert_eq!(accounts.sites.len(), 4);
    assert_eq!(record(&accounts, OTHER, OTHER).outcomes.truncated, 47);
    // Nothing is lost by moving among what did not fit.
    assert_eq!(accounts.sampled(&sampled(close("p40", 40, TRUNCATED, 1), "a"), at(1)), 0);
    assert_eq!(record(&accounts, OTHER, OTHER).outcomes.truncated, 47);
    for process in 0..1000 {
        accounts.book(&close("p0", process, CLEAN, 1), at(1));
    }
    assert_eq!(record(&accounts, "p0", UNSAMPLED).processes.len(), PROCESSES);
}

#[test]
fn room_is_made_when_programs_have_been_gone_for_a_while_and_no_series_moves() {
    let mut accounts = accounts(100, 1);
    let has_series = |accounts: &TlsAccounts, comm: &str| accounts.exported().iter().any(|it| it.identity.comm == comm);
    let of = |comm: &str| close(comm, 1, TRUNCATED, 1).identity;
    accounts.book(&close("first", 1, TRUNCATED, 1), at(0));
    accounts.book(&close("second", 2, TRUNCATED, 1), at(0));
    accounts.mark_alive(&of("second"), at(200));
    accounts.forget(at(299), |_| false);
    assert!(has_series(&accounts, "first") && accounts.sites.len() == 2);
    accounts.forget(at(301), |_| false);
    assert!(!has_series(&accounts, "first") && accounts.sites.is_empty());
    accounts.book(&close("second", 2, TRUNCATED, 1), at(301));
    accounts.book(&close("third", 3, TRUNCATED, 1), at(301));
    assert!(!has_series(&accounts, "second") && has_series(&accounts, OTHER) && has_series(&accounts, "third"));
    accounts.mark_alive(&of("third"), at(700));
    accounts.forget(at(900), |process| process.tgid == 3);
    assert!(has_series(&accounts, "third") && accounts.sites.len() == 1);
}

#[test]
fn what_the_end_of_a_process_truncated_is_told_apart() {
    let mut accounts = accounts(100, 100);
    accounts.book(&close("api", 7, TRUNCATED | tls_close::BY_EXIT, 3), at(1));
    accounts.book(&close("api", 7, TRUNCATED, 1), at(1));
    let record = record(&accounts, "api", UNSAMPLED);
    assert_eq!((record.outcomes.truncated, record.process_exit), (4, 3));
}
