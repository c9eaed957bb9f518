//! The record of one socket that a census writes out.

use core::ffi::c_void;

use aya_ebpf::{helpers::generated::bpf_seq_write, macros::map, maps::PerCpuArray};
use tlsclose_common::facts::{HalfClosed, Holder, half, holder};

use crate::{
    census::met,
    kernel::{Sequences, Tcp, port_taken},
    sockets::origin::NO_ORIGIN,
    tls,
};

/// Room for the record of a socket that no descriptor shows: in an accept queue, or held in another way.
#[map]
pub static QUEUED: PerCpuArray<Holder> = PerCpuArray::with_max_entries(1, 0);

/// A descriptor, and the process that it belongs to.
#[derive(Clone, Copy)]
pub struct HeldBy {
    pub started_at: u64,
    /// See [`Holder::file`].
    pub file: u64,
    pub tgid: u32,
    pub fd: u32,
}

/// Writes every field of the record: what the socket itself says, and what is known of its half-closing (`half`).
#[inline(always)]
pub fn fill(record: *mut Holder, held_by: HeldBy, sk: Tcp, half: Option<*mut HalfClosed>) -> Option<()> {
    let sequences = sk.sequences()?;
    let (local, remote) = sk.addresses();
    // SAFETY: the callers' records, which nothing else refers to; the addresses are 16 bytes each,
    // and unaligned, because the record packs them behind words of four bytes.
    unsafe {
        (*record).sk = sk.address();
        (*record).started_at = held_by.started_at;
        (*record).file = held_by.file;
        (*record).origin = NO_ORIGIN;
        (*record).tgid = held_by.tgid;
        (*record).fd = held_by.fd;
        (*record).netns = sk.netns();
        (*record).write_seq = sequences.write_seq();
        (*record).snd_una = sequences.snd_una();
        (*record).copied_seq = sequences.copied_seq();
        (*record).rcv_nxt = sequences.rcv_nxt();
        (*record).lsndtime = sequences.lsndtime();
        (*record).rcv_tstamp = sequences.rcv_tstamp();
        (&raw mut (*record).local).cast::<[u64; 2]>().write_unaligned(local);
        (&raw mut (*record).remote).cast::<[u64; 2]>().write_unaligned(remote);
        (*record).local_port = local_port(sk, sequences);
        (*record).remote_port = sk.remote_port();
        (*record).family = sk.family();
        (*record).state = sk.state();
        (*record).shutdown = sk.shutdown();
        (*record).flags = 0;
        (*record).tls = tls::standing(sk);
        (*record).pad = [0; 3];
    }
    // SAFETY: as above.
    add_half(unsafe { &mut *record }, half, sk.peer());
    Some(())
}

/// Adds what is known of the socket's half-closing, and notes that this census has met it.
#[inline(always)]
pub fn add_half(record: &mut Holder, half: Option<*mut HalfClosed>, peer: u32) {
    let Some(half) = half else {
        record.half = HalfClosed::NEW;
        return;
    };
    // SAFETY: valid until the program ends.
    let half = unsafe { &mut *half };
    let port = if half.flags & half::CONNECT_FAILED != 0 { port_taken(half.peer, peer) } else { 0 };
    if half.peer == peer || (record.remote_port == 0 && port != 0) {
        if record.remote_port == 0 {
            record.remote_port = port;
        }
        met::met(half);
        record.half = *half;
        record.flags |= holder::HALF;
    } else {
        record.half = HalfClosed::NEW;
        record.flags |= holder::STALE;
    }
}

/// `skc_num` lies beside what is read anyway; it is 0 once the port was put, on the way to CLOSE.
#[inline(always)]
fn local_port(sk: Tcp, sequences: Sequences) -> u16 {
    match sk.local_port() {
        0 => sequences.local_port(),
        port => port,
    }
}

/// Writes a record out. False when the output is full: then the kernel drops all that was written of this descriptor,
/// hands out what came before, and shows the descriptor again (kernel/bpf/bpf_iter.c, `bpf_seq_read`).
#[inline(always)]
pub fn emit(seq: *mut c_void, record: *mut Holder) -> bool {
    // SAFETY: the record is initialised memory of this size, `seq` the iterator's output.
    unsafe { bpf_seq_write(seq.cast(), record.cast(), size_of::<Holder>() as u32) == 0 }
}
