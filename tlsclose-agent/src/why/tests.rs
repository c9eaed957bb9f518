use super::*;
use tlsclose_core::model::Frame;

pub(super) fn touch(call: &str, result: Option<i64>, function: &str, line: u32) -> Touch {
    Touch {
        call: call.to_owned(),
        result,
        seconds_ago: None,
        whole: true,
        stack: vec![Frame {
            function: Some(function.into()),
            file: Some("src/server.rs".into()),
            line: Some(line),
            ..Frame::default()
        }],
    }
}

#[test]
fn siblings_are_counted_where_they_were_closed() {
    let stack = touch("close", None, "conn_free", 211).stack;
    let usual = |sockets| CommonPath { sockets, whole: true, stack: stack.clone() };
    for (usual, sockets, expected) in [
        (None, 412, ""),
        (
            Some(usual(9700)),
            412,
            " At least 9700 siblings were closed in conn_free (src/server.rs:211); these 412 were not.",
        ),
        (Some(usual(1)), 1, " At least 1 sibling was closed in conn_free (src/server.rs:211); this one was not."),
        (Some(CommonPath { sockets: 5, whole: true, stack: vec![] }), 2, ""),
    ] {
        assert_eq!(siblings(usual.as_ref(), sockets), expected);
    }
}

#[test]
fn a_connection_that_both_sides_have_ended_is_not_said_to_be_reset() {
    let end = touch("shutdown", None, "finish", 12);
    for (counts, expected) in [
        (
            (5, 5, 0),
            "Both sides have ended the connection; the last call was shutdown in finish (src/server.rs:12) and no close followed.",
        ),
        (
            (5, 0, 5),
            "The connection is dead (reset or timed out); the last call was shutdown in finish (src/server.rs:12) and no close followed.",
        ),
        (
            (5, 4, 1),
            "The connection has ended (closed by both sides, reset or timed out); the last call was shutdown in finish (src/server.rs:12) and no close followed.",
        ),
        (
            (5, 0, 4),
            "The connection has ended (closed by both sides, reset or timed out); the last call was shutdown in finish (src/server.rs:12) and no close followed.",
        ),
    ] {
        let death = Death::of(counts.0, counts.1, counts.2);
        assert_eq!(why(Kind::ResetHeld, death, None, Some(&end)), expected);
        assert_eq!(fix(Kind::ResetHeld, death).contains("error"), death != Death::Orderly);
    }
}

/// What is said of opened and touched.
type Case<'a> = (Kind, Option<&'a Touch>, Option<&'a Touch>, &'a str);

fn assert_said(cases: &[Case<'_>]) {
    for (kind, opened, touched, expected) in cases {
        assert_eq!(why(*kind, Death::Error, *opened, *touched), *expected, "{kind}");
    }
}

#[test]
fn why_says_of_what_was_read_what_was_seen_and_no_more() {
    let accept = touch("accept4", None, "accept_loop", 88);
    let eof = touch("read", Some(0), "handle_request", 131);
    let data = touch("recv", Some(512), "handle_request", 131);
    assert_said(&[
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
            "Peer closed; the program has read everything, including the end of the stream; the last call was recv in handle_request (src/server.rs:131) and no close followed.",
        ),
        (
            Kind::CloseWaitEofRead,
            None,
            None,
            "Peer closed; the program has read everything, including the end of the stream, and no close followed.",
        ),
        (
            Kind::CloseWaitUnread,
            Some(&accept),
            Some(&data),
            "Peer closed; the last call was recv in handle_request (src/server.rs:131) and the program has not read the end of the stream since.",
        ),
        (
            Kind::CloseWaitUnread,
            Some(&accept),
            None,
            "Peer closed; nobody has read the end of the stream of the connection opened by accept4 in accept_loop (src/server.rs:88).",
        ),
        (Kind::CloseWaitUnread, None, None, "Peer closed and nobody has read the end of the stream."),
    ]);
}

#[test]
fn why_says_of_what_is_held_what_was_seen_and_no_more() {
    let accept = touch("accept4", None, "accept_loop", 88);
    let data = touch("recv", Some(512), "handle_request", 131);
    let end = touch("shutdown", None, "finish", 12);
    let connect = touch("connect", None, "dial", 5);
    assert_said(&[
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
        (Kind::ResetHeld, Some(&accept), None, "The connection is dead (reset or timed out) and no close followed."),
        (
            Kind::ConnectFailedHeld,
            Some(&connect),
            None,
            "The connect in dial (src/server.rs:5) failed and no close followed.",
        ),
        (Kind::ConnectFailedHeld, None, None, "A connect failed and no close followed."),
    ]);
}

#[test]
fn why_says_of_queues_and_copies_what_was_seen_and_no_more() {
    let accept = touch("accept4", None, "accept_loop", 88);
    let eof = touch("read", Some(0), "handle_request", 131);
    let listen = touch("listen", None, "main", 20);
    assert_said(&[
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
    ]);
}

#[test]
fn a_call_without_a_stack_is_named_without_a_place() {
    let mut eof = touch("read", Some(0), "f", 1);
    eof.stack.clear();
    assert_eq!(
        why(Kind::CloseWaitEofRead, Death::Error, None, Some(&eof)),
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
        " Earlier, server[7] called close; something else held the socket."
    );
    assert_eq!(closed_in_vain(Kind::FinWait2Held, None), "");
}

#[test]
fn every_kind_has_a_fix_of_one_sentence() {
    for kind in Kind::all() {
        let fix = fix(kind, Death::Error);
        assert!(fix.ends_with('.') && !fix.contains(". "), "{fix}");
    }
}
