//! Established connections whose peer may be gone. The census shows those that wait for an answer,
//! and, where the agent wants to know, those that nobody would find out about.

use tlsclose_common::facts::Silence;

use crate::{kernel::Tcp, maps::CONTROL};

/// None of a connection with nothing to tell.
#[inline(always)]
pub fn silence(sk: Tcp, jiffies: u64) -> Option<Silence> {
    let sequences = sk.sequences()?;
    let (retransmissions, probes) = sequences.unanswered();
    let idle_after = CONTROL.get(0)?.idle_after;
    let mut is_idle = false;
    if idle_after != 0 && !sk.keeps_alive() {
        let since = |at: u32| (jiffies as u32).wrapping_sub(at) as i32;
        is_idle = since(sequences.lsndtime()) > idle_after as i32 && since(sequences.rcv_tstamp()) > idle_after as i32;
    }
    if retransmissions == 0 && probes == 0 && !is_idle {
        return None;
    }
    Some(Silence { retransmissions: retransmissions as u32, probes: probes as u32, is_idle })
}
