//! One sentence why a site is a finding, and one sentence what to do about it.

pub mod aborts;
pub mod half_open;

use crate::finding::{ClosedElsewhere, Example, Goodbye, Kind, Spinning, TlsOutcomes, Touch, UsualClose};
use crate::place;

/// What happened, in one sentence: `Peer closed; read returned 0 in handle (a.rs:3) and no close followed.`
///
/// Says only what was seen: where no call was sampled, no place is named.
pub fn why(kind: Kind, opened: Option<&Touch>, touched: Option<&Touch>) -> String {
    let last = clause(touched);
    let origin = clause(opened);
    match kind {
        Kind::CloseWaitEofRead => match (&last, touched.and_then(|touch| touch.result)) {
            (Some(read), Some(0)) => {
                format!("Peer closed; {} returned 0{} and no close followed.", read.call, read.place)
            }
            (Some(call), _) => format!(
                "Peer closed; all that it sent, its end included, has been read; the last call was {}{} and no close followed.",
                call.call, call.place
            ),
            (None, _) => {
                "Peer closed; all that it sent, its end included, has been read, and no close followed.".to_owned()
            }
        },
        Kind::CloseWaitUnread => match (&last, &origin) {
            (Some(call), _) => format!(
                "Peer closed; the last call was {}{} and nobody has read the end of the stream since.",
                call.call, call.place
            ),
            (None, Some(call)) => format!(
                "Peer closed; nobody has read the end of the stream of the connection opened by {}{}.",
                call.call, call.place
            ),
            (None, None) => "Peer closed and nobody has read the end of the stream.".to_owned(),
        },
        Kind::FinWait2Held => match &last {
            Some(call) if call.call != "shutdown" => format!(
                "The program ended its side, and its last call was {}{}; it still holds the socket, while the peer sends neither data nor its FIN.",
                call.call, call.place
            ),
            Some(call) => format!(
                "The program ended its side with {}{} and still holds the socket, while the peer sends neither data nor its FIN.",
                call.call, call.place
            ),
            None => {
                "The program ended its side and still holds the socket, while the peer sends neither data nor its FIN."
                    .to_owned()
            }
        },
        Kind::ResetHeld => match &last {
            Some(call) => format!(
                "The connection is dead (reset or timed out); the last call was {}{} and no close followed.",
                call.call, call.place
            ),
            None => "The connection is dead (reset or timed out) and no close followed.".to_owned(),
        },
        Kind::ConnectFailedHeld => match &origin {
            Some(call) => format!("The {}{} failed and no close followed.", call.call, call.place),
            None => "A connect failed and no close followed.".to_owned(),
        },
        Kind::CloseWaitNotAccepted => match (&last, &origin) {
            (Some(call), _) => format!(
                "Peer closed before anybody accepted the connection; {}{} took the last one out of the queue.",
                call.call, call.place
            ),
            (None, Some(call)) => format!(
                "Peer closed before anybody accepted the connection; no accept was seen since {}{}.",
                call.call, call.place
            ),
            (None, None) => "Peer closed before anybody accepted the connection.".to_owned(),
        },
        Kind::CloseWaitSharedFd => "Peer closed, and close was called, but not for the last reference.".to_owned(),
        Kind::AbortedClose => "The connection ended by a reset or an error.".to_owned(),
        Kind::HalfOpen => "The connection is established, and its peer may be gone.".to_owned(),
        // Has a sentence of its own, made from counts: `tls_why`.
        Kind::TlsTruncated => "TLS connections were closed without a close_notify.".to_owned(),
    }
}

/// What became of other sockets that were opened the same way: a sentence with a space before it,
/// or nothing.
pub fn siblings(usual: Option<&UsualClose>, sockets: u64) -> String {
    let Some(usual) = usual else { return String::new() };
    let Some(frame) = place::principal(&usual.stack) else { return String::new() };
    let these = if sockets == 1 { "this one was".to_owned() } else { format!("these {sockets} were") };
    let theirs = if usual.sockets == 1 { "sibling was" } else { "siblings were" };
    format!(" At least {} {theirs} closed in {}; {these} not.", usual.sockets, place::describe(frame))
}

/// Who called close() without closing it; a sentence to go behind [`why`], or nothing.
pub fn closed_in_vain(kind: Kind, elsewhere: Option<&ClosedElsewhere>) -> String {
    let Some(elsewhere) = elsewhere else { return String::new() };
    let place = place::principal(&elsewhere.stack);
    let place = place.map(|frame| format!(" in {}", place::describe(frame))).unwrap_or_default();
    let also = if kind == Kind::CloseWaitSharedFd { "" } else { "Before, " };
    format!(" {also}{}[{}] called close{place}; something else held the socket.", elsewhere.comm, elsewhere.pid)
}

/// What burns a core meanwhile; a sentence to go behind [`why`], or nothing.
pub fn spinning(spinning: Option<&Spinning>) -> String {
    let Some(spinning) = spinning else { return String::new() };
    let who = spinning.tid.map_or_else(|| "A thread".to_owned(), |tid| format!("Thread {tid}"));
    let what = match spinning.call.as_str() {
        "read" => "reads the finished stream",
        _ => "polls, and does nothing else,",
    };
    format!(" {who} of {} {what} {:.0} times a second.", spinning.pid, spinning.per_second)
}

/// How many TLS connections a code path ended without a goodbye, in one sentence.
pub fn tls_why(outcomes: &TlsOutcomes, process_exit: u64, closed: Option<&Touch>) -> String {
    let place = clause(closed).map_or_else(String::new, |call| format!("{}{}", call.call, call.place));
    let by = if place.is_empty() { String::new() } else { format!(" by {place}") };
    let exits = match process_exit {
        0 => String::new(),
        all if all == outcomes.truncated => ", because their process ended".to_owned(),
        some => format!(", {some} of them because their process ended"),
    };
    let (truncated, total) = (outcomes.truncated, outcomes.total());
    format!(
        "{truncated} of {total} TLS connections were closed{by} without a close_notify{exits}: the peer cannot tell the end from a truncation."
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

/// What to do, in one sentence.
pub fn fix(kind: Kind) -> String {
    match kind {
        Kind::CloseWaitEofRead => "Close the connection when read returns 0.",
        Kind::CloseWaitUnread => {
            "Keep reading (or polling for EPOLLRDHUP) every connection you hold, and close it at the end of the stream."
        }
        Kind::FinWait2Held => {
            "After shutdown, wait for the peer's end with a deadline, and close the socket when it passes."
        }
        Kind::ResetHeld => {
            "Close the connection on every error too (ECONNRESET, ETIMEDOUT, EPOLLERR, EPOLLHUP), not only at the end of the stream."
        }
        Kind::ConnectFailedHeld => {
            "Close the socket when connect fails, before the next attempt makes a new one."
        }
        Kind::CloseWaitNotAccepted => {
            "Keep accepting: find out what holds the accept loop up (a lock, a full pool, EMFILE), or close the listener."
        }
        Kind::CloseWaitSharedFd => {
            "Close every copy: open with SOCK_CLOEXEC, close in the child after fork, call shutdown before close, wake the thread that waits on it."
        }
        Kind::AbortedClose => "Look at what ended the connections: each cause has its own cure.",
        Kind::HalfOpen => "Set keepalive and TCP_USER_TIMEOUT.",
        Kind::TlsTruncated => {
            "End the TLS session (SSL_shutdown, unwrap, send_close_notify, CloseWrite) before you close the socket under it."
        }
    }
    .to_owned()
}

struct Clause<'a> {
    call: &'a str,
    /// ` in function (file:line)`, or nothing.
    place: String,
}

fn clause(touch: Option<&Touch>) -> Option<Clause<'_>> {
    let touch = touch?;
    let place =
        place::principal(&touch.stack).map(|frame| format!(" in {}", place::describe(frame))).unwrap_or_default();
    Some(Clause { call: &touch.call, place })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Frame, TlsStanding};

    fn touch(call: &str, result: Option<i64>, function: &str, line: u32) -> Touch {
        Touch {
            call: call.to_owned(),
            result,
            seconds_ago: None,
            whole: true,
            stack: vec![Frame {
                function: Some(function.to_owned()),
                file: Some("src/server.rs".to_owned()),
                line: Some(line),
                ..Frame::default()
            }],
        }
    }

    #[test]
    fn siblings_are_counted_where_they_were_closed() {
        let stack = touch("close", None, "conn_free", 211).stack;
        let usual = |sockets| UsualClose { sockets, whole: true, stack: stack.clone() };
        for (usual, sockets, expected) in [
            (None, 412, ""),
            (
                Some(usual(9700)),
                412,
                " At least 9700 siblings were closed in conn_free (src/server.rs:211); these 412 were not.",
            ),
            (Some(usual(1)), 1, " At least 1 sibling was closed in conn_free (src/server.rs:211); this one was not."),
            (Some(UsualClose { sockets: 5, whole: true, stack: vec![] }), 2, ""),
        ] {
            assert_eq!(siblings(usual.as_ref(), sockets), expected);
        }
    }

    #[test]
    fn why_says_what_was_seen_and_no_more() {
        let accept = touch("accept4", None, "accept_loop", 88);
        let eof = touch("read", Some(0), "handle_request", 131);
        let data = touch("recv", Some(512), "handle_request", 131);
        let end = touch("shutdown", None, "finish", 12);
        let connect = touch("connect", None, "dial", 5);
        let listen = touch("listen", None, "main", 20);
        let cases: [(Kind, Option<&Touch>, Option<&Touch>, &str); 16] = [
            (
                Kind::CloseWaitEofRead,
                Some(&accept),
                Some(&eof),
                "Peer closed; read returned 0 in handle_request (src/server.rs:131) and no close followed.",
            ),
            (
                Kind::CloseWaitEofRead,
                Some(&accept),
                Some(&data),
                "Peer closed; all that it sent, its end included, has been read; the last call was recv in handle_request (src/server.rs:131) and no close followed.",
            ),
            (
                Kind::CloseWaitEofRead,
                None,
                None,
                "Peer closed; all that it sent, its end included, has been read, and no close followed.",
            ),
            (
                Kind::CloseWaitUnread,
                Some(&accept),
                Some(&data),
                "Peer closed; the last call was recv in handle_request (src/server.rs:131) and nobody has read the end of the stream since.",
            ),
            (
                Kind::CloseWaitUnread,
                Some(&accept),
                None,
                "Peer closed; nobody has read the end of the stream of the connection opened by accept4 in accept_loop (src/server.rs:88).",
            ),
            (Kind::CloseWaitUnread, None, None, "Peer closed and nobody has read the end of the stream."),
            (
                Kind::FinWait2Held,
                None,
                Some(&end),
                "The program ended its side with shutdown in finish (src/server.rs:12) and still holds the socket, while the peer sends neither data nor its FIN.",
            ),
            (
                Kind::FinWait2Held,
                None,
                Some(&data),
                "The program ended its side, and its last call was recv in handle_request (src/server.rs:131); it still holds the socket, while the peer sends neither data nor its FIN.",
            ),
            (
                Kind::ResetHeld,
                None,
                Some(&data),
                "The connection is dead (reset or timed out); the last call was recv in handle_request (src/server.rs:131) and no close followed.",
            ),
            (
                Kind::ResetHeld,
                Some(&accept),
                None,
                "The connection is dead (reset or timed out) and no close followed.",
            ),
            (
                Kind::ConnectFailedHeld,
                Some(&connect),
                None,
                "The connect in dial (src/server.rs:5) failed and no close followed.",
            ),
            (Kind::ConnectFailedHeld, None, None, "A connect failed and no close followed."),
            (
                Kind::CloseWaitNotAccepted,
                Some(&listen),
                Some(&accept),
                "Peer closed before anybody accepted the connection; accept4 in accept_loop (src/server.rs:88) took the last one out of the queue.",
            ),
            (
                Kind::CloseWaitNotAccepted,
                Some(&listen),
                None,
                "Peer closed before anybody accepted the connection; no accept was seen since listen in main (src/server.rs:20).",
            ),
            (Kind::CloseWaitNotAccepted, None, None, "Peer closed before anybody accepted the connection."),
            (
                Kind::CloseWaitSharedFd,
                Some(&accept),
                Some(&eof),
                "Peer closed, and close was called, but not for the last reference.",
            ),
        ];
        for (kind, opened, touched, expected) in cases {
            assert_eq!(why(kind, opened, touched), expected, "{kind}");
        }
    }

    #[test]
    fn a_call_without_a_stack_is_named_without_a_place() {
        let mut eof = touch("read", Some(0), "f", 1);
        eof.stack.clear();
        assert_eq!(
            why(Kind::CloseWaitEofRead, None, Some(&eof)),
            "Peer closed; read returned 0 and no close followed."
        );
    }

    #[test]
    fn a_close_in_vain_is_named_with_its_place() {
        let stack = touch("close", None, "finish", 7).stack;
        let parent = ClosedElsewhere { pid: 7, comm: "server".to_owned(), stack };
        assert_eq!(
            closed_in_vain(Kind::CloseWaitSharedFd, Some(&parent)),
            " server[7] called close in finish (src/server.rs:7); something else held the socket."
        );
        let unsampled = ClosedElsewhere { stack: vec![], ..parent };
        assert_eq!(
            closed_in_vain(Kind::FinWait2Held, Some(&unsampled)),
            " Before, server[7] called close; something else held the socket."
        );
        assert_eq!(closed_in_vain(Kind::FinWait2Held, None), "");
    }

    #[test]
    fn every_kind_has_a_fix_of_one_sentence() {
        for kind in Kind::ALL {
            let fix = fix(kind);
            assert!(fix.ends_with('.') && !fix.contains(". "), "{fix}");
        }
    }

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
            tls_why(&outcomes, 0, Some(&closed)),
            format!("37 of 40 TLS connections were closed by close in hang_up (src/server.rs:9) {told}{end}")
        );
        closed.stack.clear();
        assert_eq!(
            tls_why(&outcomes, 37, None),
            format!("37 of 40 TLS connections were closed {told}, because their process ended{end}")
        );
        assert_eq!(
            tls_why(&outcomes, 2, None),
            format!("37 of 40 TLS connections were closed {told}, 2 of them because their process ended{end}")
        );
    }
}
