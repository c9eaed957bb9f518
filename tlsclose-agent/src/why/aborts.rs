//! The sentences about connections that ended by a reset or an error.

use std::collections::BTreeMap;

use tlsclose_core::model::principal_frame;
use tlsclose_core::model::{AbortCause, Touch};

/// What happened to most of them, and where.
pub fn why(causes: &BTreeMap<AbortCause, u64>, closed: Option<&Touch>) -> String {
    let place = closed.and_then(|touch| principal_frame::principal(&touch.stack));
    let place = place.map(|frame| format!(" in {}", principal_frame::describe(frame))).unwrap_or_default();
    let total: u64 = causes.values().sum();
    let Some((cause, count)) = most(causes) else { return String::new() };
    let what = match cause {
        AbortCause::UnreadData => {
            format!("were closed{place} with unread data: the peer got a reset")
        }
        AbortCause::LingerZero => format!("were closed{place} with SO_LINGER at 0: the peer got a reset"),
        AbortCause::Disconnect => {
            format!("were disconnected{place} by connect to AF_UNSPEC: the peer got a reset")
        }
        AbortCause::ListenerClosed => {
            format!("were in the accept queue of a listener that was closed{place}: the peer got a reset")
        }
        AbortCause::Linger2 => format!("were closed{place} with TCP_LINGER2 below 0: the peer got a reset"),
        AbortCause::TooManyOrphans => {
            format!("were closed{place} while the host had too many orphans: the peer got a reset")
        }
        AbortCause::PeerReset => format!("were reset by the peer before they were closed{place}"),
        AbortCause::KeepaliveTimeout => {
            format!("got no answer to keepalive probes before they were closed{place}")
        }
        AbortCause::RetransmissionTimeout => {
            format!("got no acknowledgement of what they sent before they were closed{place}")
        }
        AbortCause::Destroyed => {
            format!("were destroyed from outside (ss -K) before they were closed{place}")
        }
        AbortCause::DataAfterClose => "got data after the program had closed them: the peer got a reset".to_owned(),
    };
    format!("{count} of {total} connections {what}.")
}

/// What to do about most of them.
pub fn fix(causes: &BTreeMap<AbortCause, u64>) -> String {
    let Some((cause, _)) = most(causes) else { return String::new() };
    match cause {
        AbortCause::UnreadData => "Read to the end (or shutdown and drain) before close; what the peer still had to read is lost with the reset.",
        AbortCause::LingerZero => "Leave SO_LINGER alone, unless the peer is meant to lose what it has not read.",
        AbortCause::Disconnect => "Close the socket instead, if the peer is to see an orderly end.",
        AbortCause::ListenerClosed => "Stop the peers first, or accept what is queued before the listener is closed.",
        AbortCause::Linger2 => "Leave TCP_LINGER2 alone, unless FIN_WAIT_2 must not outlive close.",
        AbortCause::TooManyOrphans => "Find out why so many peers do not end their side, or raise net.ipv4.tcp_max_orphans.",
        AbortCause::PeerReset => "Look at the peer: it closed with data unread, crashed, or something in between reset the connection.",
        AbortCause::KeepaliveTimeout => "Look for what drops idle connections silently: a firewall, a NAT, a peer that lost power.",
        AbortCause::RetransmissionTimeout => "Look at the network in between, or for a peer that is gone.",
        AbortCause::Destroyed => "Find out who runs ss -K.",
        AbortCause::DataAfterClose => "Tell the peer that no more is wanted before closing, and read until its end.",
    }
    .to_owned()
}

fn most(causes: &BTreeMap<AbortCause, u64>) -> Option<(AbortCause, u64)> {
    causes.iter().max_by_key(|(_, count)| **count).map(|(cause, count)| (*cause, *count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    #[test]
    fn most_of_them_are_explained() {
        let causes = BTreeMap::from([(AbortCause::UnreadData, 5), (AbortCause::PeerReset, 2)]);
        let stack = vec![sample::frame("hang_up", "a.c", 3)];
        let closed = Touch { call: "close".to_owned(), result: None, seconds_ago: None, whole: true, stack };
        assert_eq!(
            why(&causes, Some(&closed)),
            "5 of 7 connections were closed in hang_up (a.c:3) with unread data: the peer got a reset."
        );
        assert!(fix(&causes).starts_with("Read to the end"), "{}", fix(&causes));
    }

    #[test]
    fn every_cause_has_its_sentences() {
        for cause in AbortCause::all() {
            let causes = BTreeMap::from([(cause, 1)]);
            for sentence in [why(&causes, None), fix(&causes)] {
                assert!(sentence.ends_with('.') && !sentence.contains('\n'), "{cause:?}: {sentence}");
            }
        }
    }
}
