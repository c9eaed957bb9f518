//! The sentences about the goodbyes of TLS connections.

use super::Call;
use crate::api::{Example, Goodbye};
use tlsclose_core::model::{Kind, TlsOutcomes, Touch};

/// How many TLS connections a code path ended without a goodbye, in one sentence.
pub fn why(outcomes: &TlsOutcomes, process_exit: u64, after_data: u64, closed: Option<&Touch>) -> String {
    let place = Call::of(closed).map(|call| call.to_string()).unwrap_or_default();
    let by = if place.is_empty() { String::new() } else { format!(" by {place}") };
    let of_them = |count: u64, what: &str| match count {
        0 => String::new(),
        all if all == outcomes.truncated => format!(", {what}"),
        some => format!(", {some} of them {what}"),
    };
    let exits = of_them(process_exit, "because their process ended");
    let after = of_them(after_data, "right after the program had sent data");
    let (truncated, total) = (outcomes.truncated, outcomes.total());
    format!(
        "{truncated} of {total} TLS connections were closed{by} without a close_notify{exits}{after}: the peer cannot tell the end from a truncation."
    )
}

/// How the goodbye stands on the examples of a leak: a further sentence, where all of them are
/// TLS and agree; else nothing.
pub fn goodbye(kind: Kind, examples: &[Example]) -> String {
    let Some(standing) = examples.first().and_then(|example| example.tls) else { return String::new() };
    if examples.iter().any(|example| example.tls != Some(standing)) {
        return String::new();
    }
    use Goodbye::{NotSaid, Said};
    let sentence = match (kind, standing.remote, standing.local) {
        (Kind::CloseWaitEofRead | Kind::CloseWaitUnread, Said, NotSaid) => {
            "they sent close_notify and FIN; we answered neither"
        }
        (Kind::CloseWaitEofRead | Kind::CloseWaitUnread, Said, Said) => {
            "both sides said close_notify; our FIN is missing"
        }
        (Kind::CloseWaitEofRead | Kind::CloseWaitUnread, NotSaid, NotSaid) => {
            "they sent their FIN without close_notify; we sent neither"
        }
        (Kind::CloseWaitEofRead | Kind::CloseWaitUnread, NotSaid, Said) => {
            "they sent their FIN without close_notify; we sent an alert and no FIN"
        }
        (Kind::FinWait2Held, NotSaid, Said) => "we sent close_notify and FIN; they answered neither",
        (Kind::FinWait2Held, NotSaid, NotSaid) => "we sent our FIN without close_notify; they sent neither",
        (Kind::FinWait2Held, Said, Said) => "both sides said close_notify; their FIN is missing",
        (Kind::FinWait2Held, Said, NotSaid) => {
            "they sent close_notify and no FIN; we sent our FIN without close_notify"
        }
        _ => return String::new(),
    };
    format!(" On TLS: {sentence}.")
}

#[cfg(test)]
mod tests {
    use super::super::tests::touch;
    use super::*;
    use crate::api::TlsStanding;

    #[test]
    fn a_leak_on_tls_says_how_the_goodbye_stands() {
        use Goodbye::{NotSaid, Said, Unknown};
        let example = |remote, local| Example {
            tls: Some(TlsStanding { local, remote }),
            ..crate::output::sample::report().sites[0].examples[0].clone()
        };
        let cases = [
            (Kind::CloseWaitEofRead, Said, NotSaid, " On TLS: they sent close_notify and FIN; we answered neither."),
            (
                Kind::CloseWaitUnread,
                NotSaid,
                NotSaid,
                " On TLS: they sent their FIN without close_notify; we sent neither.",
            ),
            (Kind::FinWait2Held, NotSaid, Said, " On TLS: we sent close_notify and FIN; they answered neither."),
            (Kind::CloseWaitEofRead, Unknown, NotSaid, ""),
            (Kind::ResetHeld, Said, NotSaid, ""),
        ];
        for (kind, remote, local, expected) in cases {
            assert_eq!(goodbye(kind, &[example(remote, local), example(remote, local)]), expected, "{kind}");
        }
        let mixed = [example(Said, NotSaid), example(NotSaid, NotSaid)];
        assert_eq!(goodbye(Kind::CloseWaitEofRead, &mixed), "");
        assert_eq!(goodbye(Kind::CloseWaitEofRead, &[]), "");
    }

    #[test]
    fn a_truncating_site_says_how_many_and_why() {
        let outcomes = TlsOutcomes { truncated: 37, clean: 3, ..TlsOutcomes::default() };
        let mut closed = touch("close", None, "hang_up", 9);
        let told = "without a close_notify";
        let end = ": the peer cannot tell the end from a truncation.";
        assert_eq!(
            why(&outcomes, 0, 0, Some(&closed)),
            format!("37 of 40 TLS connections were closed by close in hang_up (src/server.rs:9) {told}{end}")
        );
        closed.stack.clear();
        assert_eq!(
            why(&outcomes, 37, 0, None),
            format!("37 of 40 TLS connections were closed {told}, because their process ended{end}")
        );
        assert_eq!(
            why(&outcomes, 2, 35, None),
            format!(
                "37 of 40 TLS connections were closed {told}, 2 of them because their process ended, \
                 35 of them right after the program had sent data{end}"
            )
        );
    }
}
