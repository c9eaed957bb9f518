use tlsclose_common::facts::{AcceptQueue, HalfClosed, Origin};

use super::*;

const NOW: Moment = Moment(50_000_000_000);
const LISTENS: u16 = 4000;
const LOOPBACK: [u8; 16] = [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const AGENT: Agent = Agent { tgid: Some(77), started_at: Some((5_000_000_000, 20_000_000)), netns: Some(9) };
const ALL: Traces = Traces { reads: true, accepts: true, queues: true };
const TAKEN: Taken = Taken { now: NOW, jiffies: 0x1_0000_0064 };

fn known(what: &'static str, fd: i32, local_port: u16, remote_port: u16, state: u8, shutdown: u8) -> Known {
    Known { what, fd, local_port, remote_port, family: 2, local: LOOPBACK, remote: LOOPBACK, state, shutdown }
}

fn picture() -> Picture {
    Picture {
        client: known("connected", 10, 5000, LISTENS, state::CLOSE_WAIT, 1),
        server: known("accepted", 11, LISTENS, 5000, state::FIN_WAIT2, 2),
        reset: known("reset", 12, LISTENS, 5001, state::CLOSE, 3),
        listener: known("listening", 13, LISTENS, 0, state::LISTEN, 0),
        given_up: 5003,
    }
}

fn record(known: &Known) -> Holder {
    Holder {
        tgid: 77,
        fd: known.fd as u32,
        started_at: 5_009_000_000,
        netns: 9,
        local: known.local,
        remote: known.remote,
        local_port: known.local_port,
        remote_port: known.remote_port,
        family: known.family,
        state: known.state,
        shutdown: known.shutdown,
        flags: holder::HALF,
        half: HalfClosed {
            since: NOW.0 - 1_000_000,
            state: known.state,
            flags: half::WAS_CONNECTED,
            tgid: 77,
            ..HalfClosed::NEW
        },
        origin: Origin { tgid: 77, opened: 1, ..Origin::default() },
        ..Holder::default()
    }
}

/// What a census shows when everything is read right; the first record is somebody else's.
fn records() -> Vec<Holder> {
    let picture = picture();
    let mut client = Holder { write_seq: 100, snd_una: 100, copied_seq: 206, rcv_nxt: 206, ..record(&picture.client) };
    client.rcv_tstamp = 0x60;
    client.half.eof_reads = 1;
    client.origin.opened_call = call::CONNECT;
    let mut server = Holder { write_seq: 206, snd_una: 206, copied_seq: 100, rcv_nxt: 100, ..record(&picture.server) };
    server.lsndtime = 0x60;
    server.half.touched_call = call::SHUTDOWN;
    server.origin.opened_call = call::ACCEPT4;
    let mut reset = record(&picture.reset);
    reset.half.abort = abort::PEER_RESET;
    let mut listener = record(&picture.listener);
    listener.origin.touched_call = call::ACCEPT4;
    listener.set_accept_queue(AcceptQueue {
        length: 2,
        limit: BACKLOG,
        walked: 2,
        half_closed: 1,
        ..AcceptQueue::default()
    });
    let mut queued = record(&known("queued", 13, LISTENS, 5003, state::CLOSE_WAIT, 1));
    queued.flags |= holder::QUEUED;
    queued.rcv_nxt = UNREAD.len() as u32 + 1;
    let stranger = Holder { tgid: 78, remote_port: 1, ..record(&picture.client) };
    vec![stranger, client, server, reset, queued, listener]
}

#[test]
fn what_is_read_right_tells_the_agents_number() {
    assert_eq!(judge(&records(), &picture(), &AGENT, ALL, TAKEN), Ok(77));
    // In another PID namespace the number is not known before, and other clocks and names are not either.
    assert_eq!(judge(&records(), &picture(), &Agent::default(), ALL, TAKEN), Ok(77));
}

#[test]
fn what_is_read_wrongly_is_named() {
    type Spoil = fn(&mut Holder);
    let wrong: [(usize, Spoil, &str); 27] = [
        (1, |it| it.state = 1, "of its connected socket, its state reads 1 and should be 8"),
        (1, |it| it.local_port = 5, "its local port reads 5 and should be 5000"),
        (1, |it| it.remote_port = 0, "its remote port reads 0 and should be 4000"),
        (1, |it| it.family = 10, "its address family"),
        (1, |it| it.local = [0; 16], "its local address"),
        (1, |it| it.remote = [0; 16], "its remote address"),
        (1, |it| it.shutdown = 0, "which sides were shut down"),
        (1, |it| it.netns = 1, "its network namespace"),
        (1, |it| it.started_at = 0, "the start of its process"),
        (1, |it| it.flags = 0, "what is known of its end"),
        (1, |it| it.half.since = 0, "whether that was just now"),
        (1, |it| it.fd = 99, "does not show its connected socket (descriptor 10, ports 5000 and 4000)"),
        (1, |it| it.tgid = 1, "does not show its connected socket"),
        (1, |it| it.copied_seq = 0, "what it has read"),
        (1, |it| it.write_seq = 0, "what it has sent"),
        (1, |it| it.rcv_tstamp = 0xffff_0000, "whether it received just now"),
        (1, |it| it.half.eof_reads = 0, "the number of reads at its end"),
        (1, |it| it.origin.opened_call = 0, "the call that opened it"),
        (2, |it| it.snd_una = 0, "what of it was acknowledged"),
        (2, |it| it.half.touched_call = 0, "the call that half-closed it"),
        (2, |it| it.origin.tgid = 1, "the process that accepted it"),
        (3, |it| it.half.abort = 0, "of its reset socket, the cause of its end"),
        (4, |it| it.remote_port = 5002, "of its queued socket, its remote port"),
        (4, |it| it.rcv_nxt = 0, "what waits to be read"),
        (4, |it| it.flags = 0, "the connection in a queue of its own is not shown"),
        (5, |it| it.snd_una = 0, "the limit of its queue"),
        (5, |it| it.origin.touched_call = 0, "the call that accepted from it"),
    ];
    for (index, spoil, says) in wrong {
        let mut records = records();
        spoil(&mut records[index]);
        let said = judge(&records, &picture(), &AGENT, ALL, TAKEN).unwrap_err();
        assert!(said.contains(says), "`{said}` says nothing of `{says}`");
    }
}

#[test]
fn what_no_hook_has_seen_is_not_expected() {
    let mut records = records();
    records.truncate(4);
    records[1].half.eof_reads = 0;
    records[2].origin = Origin::default();
    assert_eq!(judge(&records, &picture(), &AGENT, Traces::default(), TAKEN), Ok(77));
    assert!(judge(&records, &picture(), &AGENT, ALL, TAKEN).is_err());
}
