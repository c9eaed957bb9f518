//! The opt-in stream of transitions, for people (`tlsclose states`).

use tlsclose_common::facts::{Lost, Transition};

use crate::{
    kernel::{Tcp, global, now_ns},
    maps::{STREAM_RING, lost},
    sockets::origin,
};

/// Set at load: 1 when somebody reads the stream. Then the owner of every socket is kept.
#[unsafe(no_mangle)]
static STREAM: u32 = 0;

#[inline(always)]
pub fn is_on() -> bool {
    global!(STREAM) != 0
}

#[inline(always)]
pub fn transition(sk: Tcp, old: u8, new: u8) {
    if is_on() {
        send(sk, old, new);
    }
}

#[inline(never)]
fn send(sk: Tcp, old: u8, new: u8) {
    let Some(mut entry) = STREAM_RING.reserve::<Transition>(0) else {
        lost(Lost::EventsRingFull);
        return;
    };
    let (local, remote) = sk.addresses();
    let tgid = origin::origin(sk).map_or(0, |origin| origin.tgid);
    let to = entry.as_mut_ptr();
    // SAFETY: the reservation is a whole, aligned record.
    unsafe {
        (*to).at = now_ns();
        (*to).sk = sk.address();
        (*to).tgid = tgid;
        (*to).netns = sk.netns();
        (&raw mut (*to).local).cast::<[u64; 2]>().write(local);
        (&raw mut (*to).remote).cast::<[u64; 2]>().write(remote);
        (*to).local_port = sk.local_port();
        (*to).remote_port = sk.remote_port();
        (*to).family = sk.family();
        (*to).old = old;
        (*to).new = new;
        (*to).pad = 0;
    }
    entry.submit(0);
}
