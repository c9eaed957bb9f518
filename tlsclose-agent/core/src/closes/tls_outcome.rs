//! How each direction of a TLS connection ended, from the facts that the kernel side counted.

use tlsclose_common::{facts::tls_close, tls::mark};

use crate::model::TlsOutcome;

/// Outcome of the local direction and of the peer's; None where no TLS session had begun in both,
/// so that there was nothing to say goodbye to.
pub fn outcomes(facts: u32) -> Option<[TlsOutcome; 2]> {
    let (local, remote) = (facts as u8, (facts >> 8) as u8);
    let begun = |marks: u8| marks & (mark::ESTABLISHED | mark::LOST) != 0;
    if !begun(local) || !begun(remote) || (local | remote) & mark::ESTABLISHED == 0 {
        return None;
    }
    Some([of_local(facts, local, remote), of_remote(facts, local, remote)])
}

fn of_local(facts: u32, own: u8, other: u8) -> TlsOutcome {
    let is = |fact: u32| facts & fact != 0;
    if is(tls_close::RESET_BY_US) {
        return TlsOutcome::Aborted;
    }
    if let Some(outcome) = by_last_record(own, other) {
        return outcome;
    }
    if is(tls_close::FAILED) { TlsOutcome::Aborted } else { without_goodbye(other) }
}

fn of_remote(facts: u32, other: u8, own: u8) -> TlsOutcome {
    let is = |fact: u32| facts & fact != 0;
    if let Some(outcome) = by_last_record(own, other) {
        return outcome;
    }
    if is(tls_close::UNREAD) {
        // The goodbye may be among what nobody read.
        return TlsOutcome::Unknown;
    }
    // What comes after a FIN, like a reset that answers our data, changes nothing about it.
    if is(tls_close::PEER_FIN) {
        return without_goodbye(other);
    }
    if is(tls_close::FAILED) {
        return TlsOutcome::Aborted;
    }
    // We hung up first, and did not wait for what they had to say.
    TlsOutcome::Unknown
}

/// What the direction's last record says for itself.
fn by_last_record(own: u8, other: u8) -> Option<TlsOutcome> {
    let says_goodbye = |marks: u8| marks & mark::GOODBYE != 0;
    if own & (mark::LOST | mark::MAYBE) != 0 {
        return Some(TlsOutcome::Unknown);
    }
    if !says_goodbye(own) {
        return None;
    }
    // After an end without a goodbye, an alert of that length is as likely a fatal one.
    let is_answer = own & mark::LATE != 0;
    Some(if is_answer && !says_goodbye(other) { TlsOutcome::Unknown } else { TlsOutcome::Clean })
}

/// The direction ended by a FIN, and its last record was no goodbye.
fn without_goodbye(other: u8) -> TlsOutcome {
    if other & (mark::LOST | mark::MAYBE) != 0 {
        return TlsOutcome::Unknown;
    }
    let was_said_before = other & mark::GOODBYE != 0 && other & mark::LATE == 0;
    if was_said_before { TlsOutcome::Unanswered } else { TlsOutcome::Truncated }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TlsOutcome::{Aborted, Clean, Truncated, Unanswered, Unknown};

    const OPEN: u8 = mark::ESTABLISHED;
    const BYE: u8 = mark::ESTABLISHED | mark::GOODBYE;
    const LATE_BYE: u8 = BYE | mark::LATE;
    const LOST: u8 = mark::LOST;
    const MAYBE: u8 = mark::ESTABLISHED | mark::MAYBE;
    const FIN: u32 = tls_close::PEER_FIN;
    const UNREAD: u32 = tls_close::UNREAD;
    const RESET: u32 = tls_close::RESET_BY_US;
    const FAILED: u32 = tls_close::FAILED;

    /// What it is, marks of both directions, facts of the close, and the outcomes.
    type Case = (&'static str, u8, u8, u32, Option<[TlsOutcome; 2]>);

    #[test]
    fn both_directions_are_judged_by_what_was_seen_of_them() {
        let cases: &[Case] = &[
            ("both said goodbye, they first", BYE, BYE, FIN, Some([Clean, Clean])),
            ("they said it and hung up, we answered", LATE_BYE, BYE, FIN, Some([Clean, Clean])),
            ("we said it, waited, and they answered", BYE, LATE_BYE, FIN, Some([Clean, Clean])),
            ("we said it and did not wait", BYE, OPEN, 0, Some([Clean, Unknown])),
            ("we said it, they hung up without an answer", BYE, OPEN, FIN, Some([Clean, Unanswered])),
            ("they said it, we did not answer", OPEN, BYE, FIN, Some([Unanswered, Clean])),
            ("they said it, their FIN had not come yet", OPEN, BYE, 0, Some([Unanswered, Clean])),
            ("we hung up without a word", OPEN, OPEN, 0, Some([Truncated, Unknown])),
            ("they hung up without a word, and so did we", OPEN, OPEN, FIN, Some([Truncated, Truncated])),
            ("they hung up without a word, we sent an alert", LATE_BYE, OPEN, FIN, Some([Unknown, Truncated])),
            ("we hung up without a word, they sent an alert", OPEN, LATE_BYE, FIN, Some([Truncated, Unknown])),
            ("we reset", OPEN, OPEN, RESET, Some([Aborted, Unknown])),
            ("we said goodbye and reset", BYE, OPEN, RESET | UNREAD, Some([Aborted, Unknown])),
            ("we reset what they had ended well", OPEN, BYE, RESET | FIN, Some([Aborted, Clean])),
            ("they reset", OPEN, OPEN, FAILED, Some([Aborted, Aborted])),
            ("they reset after our goodbye", BYE, OPEN, FAILED, Some([Clean, Aborted])),
            ("they reset after both goodbyes", LATE_BYE, BYE, FAILED, Some([Clean, Clean])),
            (
                "they hung up without a word, and reset our alert",
                LATE_BYE,
                OPEN,
                FIN | FAILED,
                Some([Unknown, Truncated]),
            ),
            ("their end was not read", OPEN, OPEN, FIN | UNREAD, Some([Truncated, Unknown])),
            ("our direction is unknown", LOST, BYE, FIN, Some([Unknown, Clean])),
            ("their direction is unknown", OPEN, LOST, FIN, Some([Unknown, Unknown])),
            ("ours could be data", MAYBE, OPEN, FIN, Some([Unknown, Unknown])),
            ("our unknown direction was reset by us", LOST, OPEN, RESET, Some([Aborted, Unknown])),
            ("no session", 0, 0, FIN, None),
            ("a session in one direction only", BYE, 0, FIN, None),
            ("nothing but unknown", LOST, LOST, FIN, None),
        ];
        for (name, local, remote, close, expected) in cases {
            let facts = u32::from(*local) | u32::from(*remote) << 8 | close;
            assert_eq!(outcomes(facts), *expected, "{name}");
        }
    }

    #[test]
    fn nothing_but_a_whole_goodbye_is_clean() {
        for facts in 0..1 << 21 {
            let Some([local, remote]) = outcomes(facts) else { continue };
            let said = |marks: u32| marks as u8 & (mark::GOODBYE | mark::LOST | mark::MAYBE) == mark::GOODBYE;
            assert!(local != Clean || said(facts), "{facts:#x}");
            assert!(remote != Clean || said(facts >> 8), "{facts:#x}");
        }
    }
}
