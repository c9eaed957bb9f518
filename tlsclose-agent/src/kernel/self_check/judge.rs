//! Whether what a census shows of the agent's own sockets is what they are. Pure.

use std::time::Duration;

use tlsclose_common::facts::{Holder, abort, call, half, holder, state};

use super::sockets::{BACKLOG, Known, Picture, UNREAD};
use tlsclose_core::model::Moment;

/// The agent, as the kernel should show it. None where that cannot be known from here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Agent {
    /// In the first PID namespace.
    pub tgid: Option<u32>,
    /// Since the host started: ns of CLOCK_BOOTTIME, and how exactly that is known.
    pub started_at: Option<(u64, u64)>,
    pub netns: Option<u32>,
}

/// What is attached, so that its traces can be expected.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traces {
    /// Reads are seen: a read that returned 0 is known.
    pub reads: bool,
    /// accept4() is seen: accepted sockets have an origin.
    pub accepts: bool,
    /// Listeners are shown with their queues.
    pub queues: bool,
}

/// When a census was taken, by the kernel's own clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    pub now: Moment,
    pub jiffies: u64,
}

/// The sockets are younger than this, and nothing on them is older: at any tick rate for jiffies.
const RECENT: Duration = Duration::from_secs(10);
const RECENT_JIFFIES: u32 = 10_000;

/// The agent's number in the first PID namespace, or the first thing that is read wrongly.
pub fn judge(
    records: &[Holder],
    picture: &Picture,
    agent: &Agent,
    traces: Traces,
    taken: Taken,
) -> Result<u32, String> {
    let client = socket(records, &picture.client, agent, taken)?;
    let server = socket(records, &picture.server, agent, taken)?;
    let reset = socket(records, &picture.reset, agent, taken)?;
    streams(client, server, taken)?;
    let what = picture.client.what;
    same(what, "the call that opened it", client.origin.opened_call, call::CONNECT)?;
    same(what, "the process that connected it", client.origin.tgid, client.tgid)?;
    let what = picture.server.what;
    same(what, "the call that half-closed it", server.half.touched_call, call::SHUTDOWN)?;
    same(what, "the process that half-closed it", server.half.tgid, server.tgid)?;
    same(picture.reset.what, "the cause of its end", reset.half.abort, abort::PEER_RESET)?;
    if traces.reads {
        let what = picture.client.what;
        same(what, "the number of reads at its end", client.half.eof_reads, 1)?;
        same(what, "the process that read its end", client.half.tgid, client.tgid)?;
    }
    if traces.accepts {
        same(what, "the call that opened it", server.origin.opened_call, call::ACCEPT4)?;
        same(what, "the process that accepted it", server.origin.tgid, server.tgid)?;
    }
    if traces.queues {
        queue(records, picture, client, server.origin.opened != 0)?;
    }
    Ok(client.tgid)
}

/// Sequence numbers and times of a connection, from both of its ends.
fn streams(client: &Holder, server: &Holder, taken: Taken) -> Result<(), String> {
    let of = "connected";
    same(of, "what it has read", client.copied_seq, client.rcv_nxt)?;
    same(of, "what it has received", client.rcv_nxt, server.write_seq)?;
    same(of, "what it has sent", client.write_seq, server.rcv_nxt)?;
    same(of, "what of it was acknowledged", client.snd_una, client.write_seq)?;
    let of = "accepted";
    same(of, "what it has read", server.copied_seq, server.rcv_nxt)?;
    same(of, "what of it was acknowledged", server.snd_una, server.write_seq)?;
    let is_recent = |at: u32| (taken.jiffies as u32).wrapping_sub(at) < RECENT_JIFFIES;
    same(of, "whether it sent just now", is_recent(server.lsndtime), true)?;
    same("connected", "whether it received just now", is_recent(client.rcv_tstamp), true)
}

/// The listener, whose second connection in the queue has lost its peer.
fn queue(records: &[Holder], picture: &Picture, client: &Holder, is_sampled: bool) -> Result<(), String> {
    let known = &picture.listener;
    let of = known.what;
    let is_of_it = |record: &&Holder| record.tgid == client.tgid && record.fd == known.fd as u32;
    let mut own = records.iter().filter(is_of_it);
    let record = own.clone().find(|record| record.flags & holder::QUEUE != 0).ok_or_else(|| missing(known))?;
    same(of, "its local port", record.local_port, known.local_port)?;
    same(of, "its network namespace", record.netns, client.netns)?;
    let queue = record.accept_queue().unwrap_or_default();
    same(of, "the length of its queue", queue.length, 2)?;
    same(of, "the limit of its queue", queue.limit, BACKLOG)?;
    same(of, "the connections in its queue", queue.walked, 2)?;
    let child = own.find(|record| record.flags & holder::QUEUED != 0);
    let child = child.ok_or_else(|| "the connection in a queue of its own is not shown".to_owned())?;
    let of = "queued";
    same(of, "its local port", child.local_port, known.local_port)?;
    same(of, "its remote port", child.remote_port, picture.given_up)?;
    same(of, "its state", child.state, state::CLOSE_WAIT)?;
    same(of, "its remote address", child.remote, picture.server.remote)?;
    // The end of its stream counts as one.
    let waiting = child.rcv_nxt.wrapping_sub(child.copied_seq) as usize;
    same(of, "what waits to be read", waiting, UNREAD.len() + 1)?;
    same(of, "what is known of its end", child.flags & holder::HALF != 0, true)?;
    if is_sampled {
        same("listening", "the call that accepted from it", record.origin.touched_call, call::ACCEPT4)?;
    }
    Ok(())
}

/// The record of a socket that is half-closed, when all in it is right.
fn socket<'a>(records: &'a [Holder], known: &Known, agent: &Agent, taken: Taken) -> Result<&'a Holder, String> {
    let is_it = |record: &&Holder| {
        let is_of_agent = match agent.tgid {
            Some(tgid) => record.tgid == tgid,
            None => record.local_port == known.local_port && record.remote_port == known.remote_port,
        };
        is_of_agent && record.fd == known.fd as u32 && record.flags & (holder::QUEUE | holder::QUEUED) == 0
    };
    let record = records.iter().find(is_it).ok_or_else(|| missing(known))?;
    let of = known.what;
    same(of, "its state", record.state, known.state)?;
    same(of, "its local port", record.local_port, known.local_port)?;
    same(of, "its remote port", record.remote_port, known.remote_port)?;
    same(of, "its address family", record.family, known.family)?;
    same(of, "its local address", record.local, known.local)?;
    same(of, "its remote address", record.remote, known.remote)?;
    same(of, "which sides were shut down", record.shutdown, known.shutdown)?;
    if let Some(netns) = agent.netns {
        same(of, "its network namespace", record.netns, netns)?;
    }
    if let Some((started_at, exactly)) = agent.started_at
        && record.started_at.abs_diff(started_at) > exactly
    {
        same(of, "the start of its process", record.started_at, started_at)?;
    }
    same(of, "what is known of its end", record.flags & holder::HALF != 0, true)?;
    same(of, "its last state", record.half.state, known.state)?;
    same(of, "whether it was connected", record.half.flags & half::WAS_CONNECTED != 0, true)?;
    let since = Moment(record.half.since);
    let is_recent = since <= taken.now && taken.now.since(since) < RECENT;
    same(of, "whether that was just now", is_recent, true)?;
    Ok(record)
}

fn missing(known: &Known) -> String {
    let Known { what, fd, local_port, remote_port, .. } = known;
    format!("a census does not show its {what} socket (descriptor {fd}, ports {local_port} and {remote_port})")
}

fn same<T: PartialEq + std::fmt::Debug>(of: &str, what: &str, read: T, known: T) -> Result<(), String> {
    if read == known {
        return Ok(());
    }
    Err(format!("of its {of} socket, {what} reads {read:?} and should be {known:?}"))
}

#[cfg(test)]
mod tests;
