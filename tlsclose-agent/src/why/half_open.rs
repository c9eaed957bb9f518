//! The sentences about established connections whose peer may be gone.

use std::collections::BTreeMap;

use tlsclose_core::model::principal_frame;
use tlsclose_core::model::{HalfOpenReason, Touch};

/// What is the matter with most of them, and where they were opened.
pub fn why(reasons: &BTreeMap<HalfOpenReason, u64>, opened: Option<&Touch>) -> String {
    let total: u64 = reasons.values().sum();
    let Some((reason, count)) = most(reasons) else { return String::new() };
    let opened = opened.and_then(|touch| Some((&touch.call, principal_frame::principal(&touch.stack)?)));
    let opened = opened
        .map(|(call, frame)| format!(" opened by {call} in {}", principal_frame::describe(frame)))
        .unwrap_or_default();
    let what = match reason {
        HalfOpenReason::Unacknowledged => "retransmit the same data and get no acknowledgement",
        HalfOpenReason::ProbesUnanswered => "get no answer to their probes",
        HalfOpenReason::Idle => "have been idle for --idle-after without keepalive",
    };
    format!("{count} of {total} established connections{opened} {what}.")
}

/// What to do about most of them.
pub fn fix(reasons: &BTreeMap<HalfOpenReason, u64>) -> String {
    let Some((reason, _)) = most(reasons) else { return String::new() };
    match reason {
        HalfOpenReason::Unacknowledged => "Set TCP_USER_TIMEOUT, or a deadline of the program's own, on every send.",
        HalfOpenReason::ProbesUnanswered => {
            "Keepalive will end them; shorten TCP_KEEPINTVL and TCP_KEEPCNT if that takes too long."
        }
        HalfOpenReason::Idle => {
            "Set SO_KEEPALIVE (and TCP_KEEPIDLE) where they are opened, or bound how long they may idle."
        }
    }
    .to_owned()
}

fn most(reasons: &BTreeMap<HalfOpenReason, u64>) -> Option<(HalfOpenReason, u64)> {
    reasons.iter().max_by_key(|(_, count)| **count).map(|(reason, count)| (*reason, *count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_sentences() {
        for reason in HalfOpenReason::all() {
            let reasons = BTreeMap::from([(reason, 3)]);
            assert!(why(&reasons, None).starts_with("3 of 3 established connections "), "{reason:?}");
            assert!(fix(&reasons).ends_with('.'), "{reason:?}");
        }
    }
}
