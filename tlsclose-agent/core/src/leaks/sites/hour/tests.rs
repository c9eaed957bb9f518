use super::*;

/// Seconds and the count then.
type Census = (u64, u64);

fn at(seconds: u64) -> Moment {
    Moment(1_000_000_000 * (7 + seconds))
}

fn after(censuses: impl IntoIterator<Item = Census>) -> Vec<u32> {
    let mut hour = Hour::default();
    for (seconds, count) in censuses {
        hour.update(at(seconds), count);
    }
    hour.counts().collect()
}

#[test]
fn a_minute_has_the_count_of_its_last_census() {
    let cases: [(&[Census], &[u32]); 7] = [
        (&[], &[]),
        (&[(0, 0)], &[0]),
        (&[(0, 0), (5, 2), (59, 3)], &[3]),
        (&[(0, 0), (59, 3), (60, 4), (119, 5)], &[3, 5]),
        (&[(0, 1), (30, 2), (200, 9)], &[2, 2, 2, 9]),
        (&[(0, 7), (61, 0)], &[7, 0]),
        (&[(0, u64::MAX)], &[u32::MAX]),
    ];
    for (censuses, expected) in cases {
        assert_eq!(after(censuses.iter().copied()), expected, "{censuses:?}");
    }
}

#[test]
fn an_hour_is_kept_and_no_more() {
    let counts = after((0..100 * 12).map(|census| (census * 5, census / 12)));
    assert_eq!(counts, (40..100).collect::<Vec<u32>>());
    assert_eq!(after([(0, 3), (1_000_000, 4)]).len(), STEPS, "a host that slept for days");
}
