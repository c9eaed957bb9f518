//! One sentence why a site is a finding, and one sentence what to do about it.

pub mod aborts;
pub mod half_open;
pub mod tls;

use std::fmt;

use crate::api::{ClosedElsewhere, Spinning};
use tlsclose_core::model::principal_frame;
use tlsclose_core::model::{CommonPath, Death, Kind, Touch};

/// What happened, in one sentence: `Peer closed; read returned 0 in handle (a.rs:3) and no close followed.`
///
/// Says only what was seen: where no call was sampled, no place is named.
pub fn why(kind: Kind, death: Death, opened: Option<&Touch>, touched: Option<&Touch>) -> String {
    let last = Call::of(touched);
    let origin = Call::of(opened);
    match kind {
        Kind::CloseWaitEofRead => eof_was_read(last, touched.and_then(|touch| touch.result)),
        Kind::CloseWaitUnread => eof_was_not_read(last, origin),
        Kind::FinWait2Held => held_half_open(last),
        Kind::ResetHeld => match last {
            Some(last) => format!("{}; the last call was {last} and no close followed.", dead(death)),
            None => format!("{} and no close followed.", dead(death)),
        },
        Kind::ConnectFailedHeld => match origin {
            Some(origin) => format!("The {origin} failed and no close followed."),
            None => "A connect failed and no close followed.".to_owned(),
        },
        Kind::CloseWaitNotAccepted => was_not_accepted(last, origin),
        Kind::CloseWaitSharedFd => "Peer closed, and close was called, but not for the last reference.".to_owned(),
        Kind::AbortedClose => "The connection ended by a reset or an error.".to_owned(),
        Kind::HalfOpen => "The connection is established, and its peer may be gone.".to_owned(),
        // Has a sentence of its own, made from counts: `tls_why`.
        Kind::TlsTruncated => "TLS connections were closed without a close_notify.".to_owned(),
    }
}

fn eof_was_read(last: Option<Call>, result: Option<i64>) -> String {
    match (last, result) {
        (Some(Call { call, place }), Some(0)) => {
            format!("Peer closed; {call} returned 0{place} and no close followed.")
        }
        (Some(last), _) => format!(
            "Peer closed; the program has read everything, including the end of the stream; the last call was {last} and no close followed."
        ),
        (None, _) => {
            "Peer closed; the program has read everything, including the end of the stream, and no close followed."
                .to_owned()
        }
    }
}

fn eof_was_not_read(last: Option<Call>, origin: Option<Call>) -> String {
    match (last, origin) {
        (Some(last), _) => {
            format!("Peer closed; the last call was {last} and the program has not read the end of the stream since.")
        }
        (None, Some(origin)) => {
            format!("Peer closed; nobody has read the end of the stream of the connection opened by {origin}.")
        }
        (None, None) => "Peer closed and nobody has read the end of the stream.".to_owned(),
    }
}

fn held_half_open(last: Option<Call>) -> String {
    const HELD: &str = "still holds the socket, while the peer sends neither data nor its FIN.";
    match last {
        Some(last) if last.call != "shutdown" => {
            format!("The program ended its side, and its last call was {last}; it {HELD}")
        }
        Some(last) => format!("The program ended its side with {last} and {HELD}"),
        None => format!("The program ended its side and {HELD}"),
    }
}

fn was_not_accepted(last: Option<Call>, origin: Option<Call>) -> String {
    const CLOSED: &str = "Peer closed before anybody accepted the connection";
    match (last, origin) {
        (Some(last), _) => format!("{CLOSED}; {last} took the last one out of the queue."),
        (None, Some(origin)) => format!("{CLOSED}; no accept was seen since {origin}."),
        (None, None) => format!("{CLOSED}."),
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

/// A call, and where it was made: `read in function (file:line)`.
struct Call<'a> {
    call: &'a str,
    /// ` in function (file:line)`, or nothing.
    place: String,
}

impl<'a> Call<'a> {
    fn of(touch: Option<&'a Touch>) -> Option<Self> {
        let touch = touch?;
        let place = principal_frame::principal(&touch.stack)
            .map(|frame| format!(" in {}", principal_frame::describe(frame)))
            .unwrap_or_default();
        Some(Self { call: &touch.call, place })
    }
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.call, self.place)
    }
}

#[cfg(test)]
mod tests;
