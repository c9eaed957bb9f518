extern crate std;

use std::{fs, path::Path, vec, vec::Vec};

use proptest::prelude::*;

use super::*;

/// A record of a type with a body of so many bytes, which look like anything but headers.
fn record(kind: u8, length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    let mut bytes = vec![kind, 3, 3, high, low];
    bytes.extend((0..length).map(|at| at as u8 ^ 0xa5));
    bytes
}

fn stream(records: &[(u8, u16)]) -> Vec<u8> {
    records.iter().flat_map(|(kind, length)| record(*kind, *length)).collect()
}

/// Feeds one call's bytes, giving the walker headers only; the number of bytes it asked for.
fn feed(direction: &mut Direction, bytes: &[u8]) -> usize {
    let (mut at, mut looked_at) = (0, 0);
    while at < bytes.len() && !direction.is_lost() {
        let left = (bytes.len() - at) as u32;
        if direction.body() > 0 {
            let skipped = direction.body().min(left);
            direction.skip(skipped);
            at += skipped as usize;
            continue;
        }
        let take = direction.wants().min(left) as usize;
        let mut header = [0; 8];
        header[..take].copy_from_slice(&bytes[at..at + take]);
        direction.header(header, take as u32);
        at += take;
        looked_at += take;
    }
    looked_at
}

fn walked(records: &[(u8, u16)]) -> Direction {
    let mut direction = Direction::NEW;
    feed(&mut direction, &stream(records));
    direction
}

const CLIENT_12: [(u8, u16); 4] = [(22, 200), (22, 37), (20, 1), (22, 40)];
const CLIENT_13: [(u8, u16); 4] = [(22, 512), (20, 1), (23, 53), (23, 120)];
const SERVER_13: [(u8, u16); 4] = [(22, 122), (20, 1), (23, 900), (23, 234)];
/// OpenSSL, asked by a client without compatibility mode: a HelloRetryRequest, and a hello with X25519.
const RETRIED_13: [(u8, u16); 7] = [(22, 56), (20, 1), (22, 90), (23, 23), (23, 415), (23, 97), (23, 69)];
const JSSE_13: [(u8, u16); 4] = [(22, 440), (20, 1), (23, 85), (23, 136)];

const GOODBYE: u8 = mark::ESTABLISHED | mark::GOODBYE;
const OPEN: u8 = mark::ESTABLISHED;

/// What it is, the session, its end, and the marks. A record is its type and its length.
type Case = (&'static str, &'static [(u8, u16)], &'static [(u8, u16)], u8);

#[test]
fn the_last_record_says_whether_it_was_a_goodbye() {
    let cases: &[Case] = &[
        ("1.2 AES-GCM", &CLIENT_12, &[(23, 300), (21, 26)], GOODBYE),
        ("1.2 ChaCha20", &CLIENT_12, &[(23, 300), (21, 18)], GOODBYE),
        ("1.2 AES128-SHA, encrypt then MAC", &CLIENT_12, &[(23, 300), (21, 52)], GOODBYE),
        ("1.2 AES256-SHA384, encrypt then MAC", &CLIENT_12, &[(23, 300), (21, 80)], GOODBYE),
        ("1.2 without a goodbye", &CLIENT_12, &[(23, 300)], OPEN),
        ("1.2, 3 bytes by ChaCha20 are no goodbye", &CLIENT_12, &[(23, 19)], OPEN),
        ("1.2, data after the goodbye", &CLIENT_12, &[(21, 26), (23, 300)], OPEN),
        ("1.2, nothing but the handshake", &CLIENT_12, &[], OPEN),
        ("1.3 client", &CLIENT_13, &[(23, 19)], GOODBYE),
        ("1.3 server", &SERVER_13, &[(23, 2000), (23, 19)], GOODBYE),
        ("1.3 without a goodbye", &SERVER_13, &[(23, 2000)], OPEN),
        ("1.3, data after the goodbye", &SERVER_13, &[(23, 19), (23, 2000)], OPEN),
        ("1.3 CCM_8", &CLIENT_13, &[(23, 11)], GOODBYE),
        ("1.3, a key update", &CLIENT_13, &[(23, 22)], OPEN),
        ("1.3 JSSE", &JSSE_13, &[(23, 35), (23, 35)], GOODBYE),
        ("1.3, 35 bytes could be data", &SERVER_13, &[(23, 35)], OPEN | mark::MAYBE),
        ("1.3, 35 bytes and more data", &SERVER_13, &[(23, 35), (23, 36)], OPEN),
        ("1.3, a hello was asked for again", &[(22, 512), (20, 1), (22, 518), (23, 53)], &[(23, 19)], GOODBYE),
        ("1.3 without compatibility mode", &[(22, 250), (23, 53)], &[(23, 90), (23, 19)], GOODBYE),
        ("1.3, a certificate that was refused", &[(22, 512), (20, 1)], &[(23, 19)], mark::GOODBYE),
        ("1.3, a hello was asked for again, of a client", &RETRIED_13, &[(23, 2000), (23, 19)], GOODBYE),
        ("1.3, the same without a goodbye", &RETRIED_13, &[(23, 2000)], OPEN),
        ("1.2, resumed, AES128-SHA", &[(22, 90), (20, 1), (22, 64)], &[(23, 300), (21, 48)], GOODBYE),
        ("1.2, resumed, AES256-SHA384", &[(22, 90), (20, 1), (22, 96)], &[(23, 300), (21, 80)], GOODBYE),
        ("1.0, 3DES", &[(22, 200), (22, 70), (20, 1), (22, 40)], &[(23, 304), (21, 24)], GOODBYE),
        ("1.0, RC4", &[(22, 200), (22, 70), (20, 1), (22, 36)], &[(23, 320), (21, 22)], GOODBYE),
        ("a handshake that failed", &[(22, 512)], &[(21, 2)], 0),
        ("a handshake that was refused at once", &[], &[(21, 2)], 0),
        ("nothing", &[], &[], 0),
    ];
    for (name, session, end, expected) in cases {
        let records: Vec<_> = session.iter().chain(*end).copied().collect();
        assert_eq!(walked(&records).marks(), *expected, "{name}");
    }
}

/// What it is, what the client has sent, what the server has, and whether the last of each is data of the program.
type Sent = (&'static str, &'static [(u8, u16)], &'static [(u8, u16)], [bool; 2]);

#[test]
fn handshakes_and_tickets_are_no_data_of_the_program() {
    const CLIENT: &[(u8, u16)] = &[(22, 512), (20, 1)];
    const SERVER: &[(u8, u16)] = &[(22, 122), (20, 1)];
    const FLIGHT: &[(u8, u16)] = &[(23, 23), (23, 415), (23, 96), (23, 69)];
    const WITH_TICKETS: &[(u8, u16)] = &[(23, 23), (23, 415), (23, 96), (23, 69), (23, 250), (23, 250)];
    let cases: &[Sent] = &[
        ("a health check", &[(23, 69)], WITH_TICKETS, [false, false]),
        ("a health check, by SHA256", &[(23, 53)], WITH_TICKETS, [false, false]),
        ("a health check of JSSE", &[(23, 85)], WITH_TICKETS, [false, false]),
        ("one with a certificate", &[(23, 415), (23, 96), (23, 69)], WITH_TICKETS, [false, false]),
        ("one with a long certificate", &[(23, 16401), (23, 900), (23, 281), (23, 69)], WITH_TICKETS, [false, false]),
        ("one with all in one record", &[(23, 580)], WITH_TICKETS, [false, false]),
        ("one that says goodbye", &[(23, 69), (23, 19)], WITH_TICKETS, [false, false]),
        ("a request", &[(23, 69), (23, 120)], FLIGHT, [true, true]),
        ("a request, and a reply", &[(23, 69), (23, 120)], &[(23, 900), (23, 69), (23, 250), (23, 2000)], [true, true]),
        ("a request with a certificate", &[(23, 415), (23, 96), (23, 69), (23, 120)], WITH_TICKETS, [true, true]),
        ("a reply, and a goodbye", &[(23, 69), (23, 120)], &[(23, 900), (23, 69), (23, 19)], [true, false]),
        // It is not known which of them the first request is.
        ("a request after all in one record", &[(23, 580), (23, 120)], WITH_TICKETS, [false, false]),
        ("the fifth record", &[(23, 580), (23, 120), (23, 120), (23, 120), (23, 120)], WITH_TICKETS, [true, true]),
    ];
    for (name, client, server, expected) in cases {
        let sent = walked(&[CLIENT, client].concat());
        let mut answered = Direction::NEW;
        answered.serves();
        feed(&mut answered, &stream(&[SERVER, server].concat()));
        let for_sure = [sent.carries_data_for_sure(&answered), answered.carries_data_for_sure(&sent)];
        assert_eq!(for_sure, *expected, "{name}");
        // Who reads that has been answered.
        assert!(answered.carries_data() || answered.says_goodbye(), "{name}");
    }
    // TLS 1.2 has types for them.
    let mut answered = walked(&CLIENT_12);
    let of_client = walked(&CLIENT_12);
    answered.serves();
    assert!(!answered.carries_data_for_sure(&of_client));
    feed(&mut answered, &stream(&[(23, 300)]));
    assert!(answered.carries_data_for_sure(&of_client));
}

#[test]
fn what_is_no_record_is_never_a_goodbye() {
    for garbage in [&b"GET / HTTP/1.1\r\n"[..], &[23, 2, 0, 0, 9], &[23, 3, 3, 0, 0], &[23, 3, 3, 0xff, 0xff]] {
        let mut direction = walked(&SERVER_13);
        feed(&mut direction, garbage);
        assert_eq!(direction.marks(), OPEN | mark::LOST, "{garbage:?}");
        // Nothing brings it back.
        feed(&mut direction, &stream(&[(23, 19)]));
        assert_eq!(direction.marks(), OPEN | mark::LOST, "{garbage:?}");
    }
}

#[test]
fn an_alert_of_kernel_tls_is_not_guessed_at() {
    let mut direction = walked(&SERVER_13);
    // The library hands the kernel two bytes, and the type beside them.
    feed(&mut direction, &[1, 0]);
    assert_eq!(direction.marks(), OPEN | mark::MAYBE);
}

#[test]
fn a_goodbye_that_is_not_whole_is_none() {
    let mut bytes = stream(&SERVER_13);
    bytes.extend(stream(&[(23, 19)]));
    for missing in 1..24 {
        let mut direction = Direction::NEW;
        feed(&mut direction, &bytes[..bytes.len() - missing]);
        assert_eq!(direction.marks() & mark::GOODBYE, 0, "{missing}");
    }
}

#[test]
fn a_later_record_takes_the_lateness_of_the_last_one_away() {
    let mut direction = walked(&[CLIENT_13.as_slice(), &[(23, 19)]].concat());
    direction.mark_late();
    assert_eq!(direction.marks(), GOODBYE | mark::LATE);
    feed(&mut direction, &stream(&[(23, 19)]));
    assert_eq!(direction.marks(), GOODBYE);
}

#[test]
fn tls_begins_with_a_handshake_or_an_alert_in_clear() {
    let cases: [([u8; 5], bool); 12] = [
        ([22, 3, 1, 2, 0], true),
        ([22, 3, 3, 0, 122], true),
        ([21, 3, 3, 0, 2], true),
        ([22, 3, 4, 0, 90], true),
        ([21, 3, 3, 0, 26], false),
        ([23, 3, 3, 0, 19], false),
        ([22, 3, 3, 0, 0], false),
        ([22, 3, 3, 0xff, 0xff], false),
        ([22, 2, 0, 0, 90], false),
        ([22, 3, 5, 0, 90], false),
        (*b"GET /", false),
        ([0; 5], false),
    ];
    for (header, expected) in cases {
        assert_eq!(Direction::begins(header), expected, "{header:?}");
    }
}

/// What real libraries have sent, see `tests/data/tls/record.py`.
#[test]
fn recorded_connections_end_as_they_did_however_they_are_cut() {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tls");
    let mut seen = 0;
    for file in fs::read_dir(recorded).unwrap().map(|entry| entry.unwrap().path()) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let expected = match name.rsplit_once('-') {
            Some((_, "clean.client" | "clean.server")) => GOODBYE,
            Some((_, "raw.client" | "raw.server")) => OPEN,
            _ => continue,
        };
        seen += 1;
        let bytes = fs::read(&file).unwrap();
        for cut in 0..bytes.len() {
            let mut direction = Direction::NEW;
            let (first, rest) = bytes.split_at(cut);
            let looked_at = feed(&mut direction, first);
            let is_whole = direction.body() == 0 && looked_at.is_multiple_of(HEADER as usize);
            assert!(is_whole || direction.marks() & mark::GOODBYE == 0, "{name} up to {cut}");
            feed(&mut direction, rest);
            assert_eq!(direction.marks(), expected, "{name} cut at {cut}");
        }
        let mut direction = Direction::NEW;
        for byte in bytes.chunks(1) {
            feed(&mut direction, byte);
        }
        assert_eq!(direction.marks(), expected, "{name} byte by byte");
    }
    assert_eq!(seen, 20);
}

/// Records of any type and length.
fn records() -> impl Strategy<Value = Vec<(u8, u16)>> {
    prop::collection::vec((20..=24u8, prop_oneof![1..=64u16, 1..=LONGEST]), 0..12)
}

/// Cuts `bytes` at the given places.
fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn splits_make_no_difference(records in records(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40)) {
        let bytes = stream(&records);
        let whole = walked(&records);
        let mut direction = Direction::NEW;
        for piece in pieces(&bytes, &cuts) {
            feed(&mut direction, piece);
        }
        prop_assert_eq!(direction, whole);
    }

    #[test]
    fn only_headers_are_looked_at(records in records(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40)) {
        let bytes = stream(&records);
        let mut direction = Direction::NEW;
        let looked_at: usize = pieces(&bytes, &cuts).into_iter().map(|piece| feed(&mut direction, piece)).sum();
        prop_assert_eq!(looked_at, records.len() * HEADER as usize);
    }

    #[test]
    fn bodies_make_no_difference(records in records(), noise in any::<u8>()) {
        let mut bytes = stream(&records);
        let mut at = 0;
        for (_, length) in &records {
            let body = at + HEADER as usize;
            bytes[body..body + *length as usize].fill(noise);
            at = body + *length as usize;
        }
        let mut direction = Direction::NEW;
        feed(&mut direction, &bytes);
        prop_assert_eq!(direction, walked(&records));
    }

    #[test]
    fn no_bytes_make_it_fail(calls in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8)) {
        let mut direction = Direction::NEW;
        for call in &calls {
            feed(&mut direction, call);
            prop_assert!(direction.wants() >= 1 && direction.wants() <= HEADER);
            prop_assert!(direction.body() <= u32::from(LONGEST));
            // A direction that was not established has nothing to say goodbye to.
            let marks = direction.marks();
            prop_assert!(marks & mark::LOST == 0 || marks & (mark::GOODBYE | mark::MAYBE) == 0);
        }
    }
}

#[test]
fn kernel_tls_says_itself_what_an_alert_is() {
    let mut direction = walked(&CLIENT_13);
    let carries_data = |direction: &Direction| direction.carries_data_for_sure(&Direction::NEW);
    direction.record_of_kernel(content_type::APPLICATION_DATA);
    assert_eq!((direction.marks(), carries_data(&direction)), (OPEN, true));
    // A ticket.
    direction.record_of_kernel(content_type::HANDSHAKE);
    assert_eq!((direction.marks(), carries_data(&direction)), (OPEN, false));
    direction.record_of_kernel(content_type::ALERT);
    direction.mark_late();
    assert_eq!((direction.marks(), carries_data(&direction)), (GOODBYE | mark::LATE, false));
    direction.record_of_kernel(content_type::APPLICATION_DATA);
    assert_eq!(direction.marks(), OPEN);
    // Whatever was left of a record before.
    let mut direction = walked(&CLIENT_13);
    feed(&mut direction, &stream(&[(23, 500)])[..100]);
    direction.record_of_kernel(content_type::ALERT);
    assert_eq!(direction.marks(), GOODBYE);
}
