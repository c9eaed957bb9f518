//! One sentence why a site is a finding, and one sentence what to do about it.

pub mod aborts;
pub mod half_open;
pub mod tls;

use crate::api::{ClosedElsewhere, Spinning};
use tlsclose_core::model::principal_frame;
use tlsclose_core::model::{CommonPath, Death, Kind, Touch};

/// What happened, in one sentence: `Peer closed; read returned 0 in handle (a.rs:3) and no close followed.`
///
/// Says only what was seen: where no call was sampled, no place is named.
pub fn why(kind: Kind, death: Death, opened: Option<&Touch>, touched: Option<&Touch>) -> String {
    let last = clause(touched);
    let origin = clause(opened);
    match kind {
        Kind::CloseWaitEofRead => match (&last, touched.and_then(|touch| touch.result)) {
            (Some(read), Some(0)) => {
                format!("Peer closed; {} returned 0{} and no close followed.", read.call, read.place)
            }
            (Some(call), _) => format!(
                "Peer closed; the program has read everything, including the end of the stream; the last call was {}{} and no close followed.",
                call.call, call.place
            ),
            (None, _) => {
                "Peer closed; the program has read everything, including the end of the stream, and no close followed."
                    .to_owned()
            }
        },
        Kind::CloseWaitUnread => match (&last, &origin) {
            (Some(call), _) => format!(
                "Peer closed; the last call was {}{} and the program has not read the end of the stream since.",
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
            Some(call) => {
                format!("{}; the last call was {}{} and no close followed.", dead(death), call.call, call.place)
            }
            None => format!("{} and no close followed.", dead(death)),
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

fn dead(death: Death) -> &'static str {
    match death {
        Death::Error => "The connection is dead (reset or timed out)",
        Death::Orderly => "Both sides have ended the connection",
        Death::Either => "The connection has ended (closed by both sides, reset or timed out)",
    }
}

/// What became of other sockets that were opened the same way: a sentence with a space before it,
/// or nothing.
pub fn siblings(usual: Option<&CommonPath>, sockets: u64) -> String {
    let Some(usual) = usual else { return String::new() };
    let Some(frame) = principal_frame::principal(&usual.stack) else { return String::new() };
    let these = if sockets == 1 { "this one was".to_owned() } else { format!("these {sockets} were") };
    let theirs = if usual.sockets == 1 { "sibling was" } else { "siblings were" };
    format!(" At least {} {theirs} closed in {}; {these} not.", usual.sockets, principal_frame::describe(frame))
}

/// Who called close() without closing it; a sentence to go behind [`why`], or nothing.
pub fn closed_in_vain(kind: Kind, elsewhere: Option<&ClosedElsewhere>) -> String {
    let Some(elsewhere) = elsewhere else { return String::new() };
    let place = principal_frame::principal(&elsewhere.stack);
    let place = place.map(|frame| format!(" in {}", principal_frame::describe(frame))).unwrap_or_default();
    let also = if kind == Kind::CloseWaitSharedFd { "" } else { "Earlier, " };
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

/// What to do, in one sentence.
pub fn fix(kind: Kind, death: Death) -> String {
    match kind {
        Kind::ResetHeld if death == Death::Orderly => {
            "Close the socket once both sides have ended: shutdown frees neither the socket nor its descriptor."
        }
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
    let place = principal_frame::principal(&touch.stack)
        .map(|frame| format!(" in {}", principal_frame::describe(frame)))
        .unwrap_or_default();
    Some(Clause { call: &touch.call, place })
}

#[cfg(test)]
mod tests;
